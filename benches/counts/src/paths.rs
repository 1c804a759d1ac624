//! What is run: each path by itself, again and again, first for nothing and then counted.

use std::hint::black_box;
use std::io;
use std::mem::ManuallyDrop;

use brigade::channel;
use brigade::counts::{self, OneThread, StayingWorker};
use brigade::sync::{Mutex, RwLock, Semaphore};
use brigade::{Pool, Shared, process};

use crate::marks::{self, ALL, WARM};
use crate::values;

fn double(n: u64) -> u64 {
    2 * n
}

/// As often as the mark of that name says; before that for nothing. `f` is told whether it counts.
fn each(name: &str, mut f: impl FnMut(bool)) {
    let mark = ALL.iter().find(|mark| mark.name == name);
    let times = mark.expect("there is a mark of that name").times;
    (0..WARM).for_each(|_| f(false));
    (0..times).for_each(|_| f(true));
}

/// Runs `$f` inside of the mark, if it counts.
macro_rules! counted {
    ($counts:expr, $mark:ident, $f:expr) => {
        if $counts { marks::$mark($f) } else { $f() }
    };
}

/// Runs everything.
pub fn run() -> Result<(), String> {
    let failed = |e: io::Error| e.to_string();
    brigade::init();
    let stage = OneThread::begin().map_err(failed)?;
    spawn(&stage).map_err(failed)?;
    pool(&stage).map_err(failed)?;
    channels().map_err(failed)?;
    locks().map_err(failed)?;
    codec();
    region().map_err(failed)
}

fn spawn(stage: &OneThread) -> io::Result<()> {
    each("spawn_host", |counts| {
        let mut worker = stage.add_worker().expect("a worker");
        worker.warm_up();
        let handle = counted!(counts, spawn_host, || process::spawn(double, 21));
        let handle = handle.expect("it was given to the worker");
        counted!(counts, spawn_worker, || worker.serve());
        let joined = counted!(counts, spawn_host, || handle.join());
        assert_eq!(joined.expect("it returned"), 42);
    });
    Ok(())
}

/// A pool of one worker.
fn start(stage: &OneThread) -> io::Result<(Pool, StayingWorker)> {
    let mut worker = stage.add_worker()?;
    worker.warm_up();
    // The only time that anybody waits: the pool, until its worker is ready.
    let pool = std::thread::spawn(|| Pool::processes(1));
    let worker = worker.serve().expect("it is told to stay");
    stage.listen();
    let pool = pool.join().expect("it does not panic")?;
    forget_threads();
    Ok((pool, worker))
}

/// A worker has one thread, unless a task starts others, and knows it by the C library's word,
/// which is never taken back. Here it is true again.
fn forget_threads() {
    unsafe extern "C" {
        // glibc 2.32, <sys/single_threaded.h>.
        static mut __libc_single_threaded: std::ffi::c_char;
    }
    // SAFETY: it is a plain variable of the C library's, and no other thread is left that could
    // look at it.
    unsafe { (&raw mut __libc_single_threaded).write(1) };
}

fn pool(stage: &OneThread) -> io::Result<()> {
    let (pool, mut worker) = start(stage)?;
    // It would wait for the end of a worker that has no process to end.
    let pool = ManuallyDrop::new(pool);
    each("submit_host", |counts| {
        let handle = counted!(counts, submit_host, || pool.submit(double, 21));
        assert!(
            counted!(counts, submit_worker, || worker.serve()),
            "it stays"
        );
        let joined = counted!(counts, submit_host, || handle.join());
        assert_eq!(joined.expect("it returned"), 42);
    });
    let all = ALL.iter().find(|mark| mark.name == "map_host");
    let all = u64::from(all.expect("there is one").times);
    for (counts, inputs) in [(false, all / 8), (true, all)] {
        let mut map = counts::Map::new(&pool, double, 0..inputs).expect("of processes");
        let mut sum = 0;
        let mut over = false;
        while !over {
            counted!(counts, map_host, || loop {
                match map.next_now() {
                    Some(Some(result)) => sum += result.expect("it returned"),
                    Some(None) => break,
                    None => {
                        over = true;
                        break;
                    }
                }
            });
            assert!(counted!(counts, map_worker, || worker.serve()), "it stays");
        }
        assert_eq!(sum, inputs * (inputs - 1));
    }
    Ok(())
}

fn channels() -> io::Result<()> {
    macro_rules! channel {
        ($made:expr, $message:expr, $send:ident, $receive:ident) => {{
            let (sender, receiver) = $made?;
            let message = $message;
            each(stringify!($send), |counts| {
                let message = message.clone();
                counted!(counts, $send, || sender.send(message)).expect("it has room");
                let received = counted!(counts, $receive, || receiver.recv());
                assert_eq!(received.expect("it is there"), $message);
            });
        }};
    }
    channel!(channel::pipe::<u64>(16), 7_u64, pipe_send, pipe_receive);
    channel!(
        channel::socket::<u64>(16),
        7_u64,
        socket_send,
        socket_receive
    );
    channel!(channel::queue::<u64>(8), 7_u64, queue_send, queue_receive);
    channel!(channel::shm::<u64>(16), 7_u64, shm_send, shm_receive);
    let long = || values::bytes(4096);
    channel!(
        channel::pipe::<Vec<u8>>(16),
        long(),
        pipe_4k_send,
        pipe_4k_receive
    );
    channel!(
        channel::shm::<Vec<u8>>(16),
        long(),
        shm_4k_send,
        shm_4k_receive
    );
    Ok(())
}

fn locks() -> io::Result<()> {
    let mutex = Mutex::new(0_u64);
    each("mutex", |counts| {
        counted!(counts, mutex, || *mutex.lock().expect("not poisoned") += 1);
    });
    let mutex = Shared::new(Mutex::new(0_u64))?;
    each("shared_mutex", |counts| {
        counted!(counts, shared_mutex, || *mutex
            .lock()
            .expect("not poisoned") += 1);
    });
    let lock = Shared::new(RwLock::new(0_u64))?;
    each("read", |counts| {
        counted!(counts, read, || black_box(
            *lock.read().expect("not poisoned")
        ));
    });
    each("write", |counts| {
        counted!(counts, write, || *lock.write().expect("not poisoned") += 1);
    });
    let semaphore = Shared::new(Semaphore::new(2))?;
    each("semaphore", |counts| {
        counted!(counts, semaphore, || drop(black_box(semaphore.acquire())));
    });
    Ok(())
}

fn codec() {
    macro_rules! value {
        ($type:ty, $value:expr, $encode:ident, $decode:ident) => {{
            let value: $type = $value;
            let mut bytes = Vec::new();
            each(stringify!($encode), |counts| {
                bytes.clear();
                let (value, into) = (black_box(&value), black_box(&mut bytes));
                let encoded = counted!(counts, $encode, || counts::encode(value, into));
                assert!(encoded.is_some_and(|descriptors| descriptors.is_empty()));
            });
            each(stringify!($decode), |counts| {
                let bytes = black_box(&bytes[..]);
                let decoded = counted!(counts, $decode, || counts::decode(bytes, Vec::new()));
                assert_eq!(decoded.as_ref(), Some(&value));
            });
        }};
    }
    value!(u64, 1 << 40, encode_u64, decode_u64);
    value!([f64; 8], [0.1; 8], encode_array, decode_array);
    value!(Vec<u8>, values::bytes(64), encode_bytes, decode_bytes);
    value!(String, values::text(32), encode_text, decode_text);
    value!(
        values::Fields,
        values::fields(7),
        encode_fields,
        decode_fields
    );
    let structs = (0..10).map(values::fields).collect();
    value!(Vec<values::Fields>, structs, encode_structs, decode_structs);
    value!(Vec<f64>, values::floats(1000), encode_floats, decode_floats);
}

fn region() -> io::Result<()> {
    let numbers: Vec<u64> = (0..512).collect();
    each("region_new", |counts| {
        let made = counted!(counts, region_new, || Shared::<[u64]>::from_slice(&numbers));
        let made = made.expect("there is memory");
        let mut bytes = Vec::new();
        let passed = counted!(counts, region_pass, || counts::encode(&made, &mut bytes));
        let passed = passed.expect("it can be passed");
        let opened = counted!(counts, region_open, || {
            let opened = counts::decode::<Shared<[u64]>>(&bytes, passed)?;
            Some((opened[511], opened))
        });
        let (last, opened) = opened.expect("it can be opened");
        assert_eq!(last, 511);
        counted!(counts, region_drop, || drop((made, opened)));
    });
    Ok(())
}

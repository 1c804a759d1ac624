//! Hosts at their start: without `init`, from a runtime, replaced on the disk; and what they have
//! before they ask for anything.

use brigade::{JoinError, process};

use super::{Host, double, spawn_works};

pub(crate) const HOSTS: &[(&str, Host)] = &[
    ("never-inits", never_inits),
    ("inits-late", inits_late),
    ("async", in_an_async_runtime),
    ("idle", idle),
    ("replaced", replaced),
    ("huge-heap", huge_heap),
];

fn never_inits(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let error = process::spawn(double, 1).err().ok_or("it worked")?;
    println!("{:?}: {error}", error.kind());
    Ok(())
}

fn inits_late(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let error = process::spawn(double, 1).err().ok_or("it worked")?;
    println!("{error}");
    brigade::init();
    spawn_works()
}

/// A program whose main is a runtime's, which has threads already when `init` is called.
fn in_an_async_runtime(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    use std::sync::{Arc, mpsc};
    use std::task::{Context, Poll, Wake, Waker};
    struct Again(mpsc::Sender<()>);
    impl Wake for Again {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }
    let runtime = std::thread::spawn(|| -> Result<u32, String> {
        brigade::init();
        let (sender, again) = mpsc::channel();
        let waker = Waker::from(Arc::new(Again(sender)));
        let mut future = Box::pin(async {
            let mut sum = 0;
            for n in 0..10 {
                sum += process::spawn(double, n)
                    .map_err(|e| e.to_string())?
                    .await
                    .map_err(|e| e.to_string())?;
            }
            Ok(sum)
        });
        loop {
            if let Poll::Ready(sum) =
                Future::poll(future.as_mut(), &mut Context::from_waker(&waker))
            {
                return sum;
            }
            again.recv().map_err(|e| e.to_string())?;
        }
    });
    match runtime.join().map_err(|_| "the runtime panicked")?? {
        90 => Ok(()),
        other => Err(format!("the sum is {other}").into()),
    }
}

/// Starts nothing: what it has must be what every program has.
fn idle(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    let children =
        std::fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id()))?;
    println!("threads {threads} children {:?}", children.trim());
    Ok(())
}

/// Its binary is replaced while it runs: by something that is no program at all.
fn replaced(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let path = args.first().ok_or("the path of this copy")?;
    if args.get(1).is_some() {
        // The fork server runs already; it is the next one that must still find its program.
        spawn_works()?;
    }
    let other = format!("{path}.new");
    std::fs::write(&other, "not a program")?;
    std::fs::rename(&other, path)?;
    for _ in 0..8 {
        spawn_works()?;
    }
    match process::spawn(|()| -> () { std::process::abort() }, ())?.join() {
        Err(JoinError::Crashed(crash))
            if crash.backtrace().is_some_and(|b| b.contains("replaced")) =>
        {
            Ok(())
        }
        other => Err(format!("{other:?}").into()),
    }
}

fn huge_heap(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let heap = std::hint::black_box(vec![1_u8; 1 << 30]);
    let threads: Vec<_> = (0..16)
        .map(|_| brigade::thread::spawn(|()| std::thread::park(), ()))
        .collect::<Result<_, _>>()?;
    spawn_works()?;
    let worker = process::spawn(
        |()| std::fs::read_to_string("/proc/self/statm").unwrap_or_default(),
        (),
    )?
    .join()?;
    let resident: usize = worker.split(' ').nth(1).ok_or("statm")?.parse()?;
    if resident * 4096 > heap.len() / 4 {
        return Err(format!("a worker has {resident} pages: it carries the host's heap").into());
    }
    drop(threads);
    Ok(())
}

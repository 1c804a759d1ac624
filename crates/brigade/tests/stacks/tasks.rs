//! In what ways a task can be stuck.

use std::hint::{black_box, spin_loop};
use std::mem::MaybeUninit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use brigade::Shared;
use serde::{Deserialize, Deserializer, Serialize};

/// Says that a task has begun, and lets it end.
pub(crate) type Gate = (Shared<AtomicU32>, Shared<AtomicU32>);

/// Lets a task go, also where the test fails: its pool would wait for it for ever.
pub(crate) struct LetsGo(pub(crate) Shared<AtomicU32>);

impl Drop for LetsGo {
    fn drop(&mut self) {
        self.0.store(1, SeqCst);
        wake(&self.0);
    }
}

/// Spins in a function of its own, until it is let go.
#[inline(never)]
pub(crate) fn spin_until(flag: &AtomicU32) {
    while black_box(flag).load(SeqCst) == 0 {
        spin_loop();
    }
}

/// Runs for ever.
pub(crate) fn spins(_: ()) {
    spin_until(&AtomicU32::new(0));
}

/// Runs until it is let go; says that it has begun.
pub(crate) fn spins_until((begun, flag): (Shared<AtomicU32>, Shared<AtomicU32>)) -> u32 {
    begun.store(1, SeqCst);
    spin_until(&flag);
    7
}

#[inline(never)]
fn lock_twice(lock: &Mutex<u32>) -> u32 {
    let outer = lock.lock().expect("not poisoned");
    let inner = lock.lock().expect("not poisoned");
    *outer + *inner
}

/// Waits for itself.
pub(crate) fn deadlocks(_: ()) -> u32 {
    lock_twice(black_box(&Mutex::new(1)))
}

#[inline(never)]
fn read_from(pipe: &std::os::fd::OwnedFd) -> usize {
    rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut [0; 1])).expect("nothing comes")
}

/// Reads from a pipe, into which nobody writes.
pub(crate) fn reads(_: ()) -> usize {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let read = read_from(black_box(&reader));
    drop(writer);
    read
}

/// In a function of C's, which calls back.
pub(crate) fn spins_below_c(_: ()) {
    extern "C" fn compare(_: *const libc::c_void, _: *const libc::c_void) -> i32 {
        spin_until(&AtomicU32::new(0));
        0
    }
    let mut numbers = [2_u32, 1];
    // SAFETY: two numbers of four bytes each, which the comparison does not touch.
    unsafe { libc::qsort(numbers.as_mut_ptr().cast(), 2, 4, Some(compare)) };
}

/// Hears no signal.
pub(crate) fn blocks_signals(_: ()) {
    // SAFETY: the set is filled before it is read.
    unsafe {
        let mut all = MaybeUninit::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut());
    }
    spin_until(&AtomicU32::new(0));
}

/// Stops itself.
pub(crate) fn stops(_: ()) {
    brigade_test_support::signal::send(std::process::id(), libc::SIGSTOP);
    spin_until(&AtomicU32::new(0));
}

/// Takes all handlers of signals away.
pub(crate) fn forgets_handlers(_: ()) {
    for signal in 1..=64 {
        // SAFETY: the default action is no code. It is refused for some numbers.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    spin_until(&AtomicU32::new(0));
}

/// Takes no notice of being asked to end.
pub(crate) fn ignores_sigterm(_: ()) {
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    spin_until(&AtomicU32::new(0));
}

/// Leaves with 3 when it is asked to end.
pub(crate) fn leaves_at_sigterm(_: ()) {
    extern "C" fn leave(_: i32) {
        // SAFETY: async-signal-safe, and does not return.
        unsafe { libc::_exit(3) };
    }
    // SAFETY: a handler of the right type, which does what a handler may.
    unsafe { libc::signal(libc::SIGTERM, leave as extern "C" fn(i32) as usize) };
    spin_until(&AtomicU32::new(0));
}

/// An input that takes for ever to decode.
#[derive(Debug, Serialize)]
pub(crate) struct Endless;

impl<'de> Deserialize<'de> for Endless {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Endless, D::Error> {
        spin_until(&AtomicU32::new(0));
        Ok(Endless)
    }
}

pub(crate) fn takes_endless(_: Endless) {}

/// Has a stack that leads nowhere while it spins: what lies where its caller's address should be
/// is no code, and what is below it is not mapped.
#[cfg(target_arch = "x86_64")]
pub(crate) fn breaks_its_stack((begun, flag): (Shared<AtomicU32>, Shared<AtomicU32>)) -> u32 {
    // In the middle: where the caller's address is looked for depends on the compiler.
    let mut stack = vec![0x1000_usize; 4096];
    let top = stack.as_mut_ptr().wrapping_add(2048) as usize;
    begun.store(1, SeqCst);
    // SAFETY: the stack pointer is put back before anything uses it; signals come on a stack of
    // their own. The flag is read only.
    unsafe {
        std::arch::asm!(
            "mov {saved}, rsp",
            "mov rsp, {top}",
            "2:",
            "pause",
            "cmp dword ptr [{flag}], 0",
            "je 2b",
            "mov rsp, {saved}",
            saved = out(reg) _,
            top = in(reg) top,
            flag = in(reg) flag.as_ptr(),
        );
    }
    drop(stack);
    9
}

/// Sleeps until it is let go.
pub(crate) fn waits_until((begun, flag): (Shared<AtomicU32>, Shared<AtomicU32>)) -> u32 {
    begun.store(1, SeqCst);
    while flag.load(SeqCst) == 0 {
        // As the C library makes it: an interruption would come back as an error.
        let slept =
            rustix::thread::futex::wait(&flag, rustix::thread::futex::Flags::empty(), 0, None);
        if slept == Err(rustix::io::Errno::INTR) {
            return 0;
        }
    }
    8
}

/// A pipe, of which one end can be sent.
pub(crate) fn pipe() -> (brigade::Descriptor, std::os::fd::OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    (brigade::Descriptor::from(reader), writer)
}

/// Reads once, and gives what read(2) says.
pub(crate) fn reads_once(
    (begun, pipe): (Shared<AtomicU32>, brigade::Descriptor),
) -> Result<usize, i32> {
    begun.store(1, SeqCst);
    rustix::io::read(&pipe, &mut [0; 1]).map_err(|e| e.raw_os_error())
}

/// Tells a thread of this program that it may end.
pub(crate) static LET_GO: AtomicU32 = AtomicU32::new(0);

/// As `blocks_signals`, in a thread that ends at last.
pub(crate) fn blocks_signals_until_told(_: ()) {
    // SAFETY: the set is filled before it is read.
    unsafe {
        let mut all = MaybeUninit::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut());
    }
    spin_until(&LET_GO);
}

/// Wakes whoever sleeps on a number.
pub(crate) fn wake(flag: &AtomicU32) {
    let flags = rustix::thread::futex::Flags::empty();
    rustix::thread::futex::wake(flag, flags, i32::MAX as u32).expect("woken");
}

//! Faults of the task's own: signals that the kernel sends for what the code did.

use brigade::{Cause, Phase};

use crate::crash_of;

fn read(address: usize) -> u8 {
    // SAFETY: none; reading there is the point.
    unsafe { std::ptr::read_volatile(address as *const u8) }
}

#[test]
fn segmentation_fault() {
    let crash = crash_of(read, 0x40);
    assert_eq!(crash.cause(), &Cause::Signal(libc::SIGSEGV));
    assert_eq!(crash.phase(), Phase::Running);
    assert!(crash.task().contains("read"), "{}", crash.task());
    let backtrace = crash.backtrace().expect("the handler noted the calls");
    assert!(backtrace.contains("faults::read"), "{backtrace}");
    let told = crash.to_string();
    assert!(
        told.contains("SIGSEGV") && told.contains("0x40") && !told.contains('\n'),
        "{told}"
    );
}

#[test]
fn bus_error() {
    let crash = crash_of(
        |()| {
            let file =
                rustix::fs::memfd_create("bus", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
            rustix::fs::ftruncate(&file, 4096).expect("sized");
            // SAFETY: a fresh mapping; the access below is past the file's end on purpose.
            unsafe {
                use rustix::mm::{MapFlags, ProtFlags, mmap};
                let at = mmap(
                    std::ptr::null_mut(),
                    4096,
                    ProtFlags::READ,
                    MapFlags::SHARED,
                    &file,
                    0,
                )
                .expect("mmap");
                rustix::fs::ftruncate(&file, 0).expect("truncated");
                std::ptr::read_volatile(at.cast::<u8>())
            }
        },
        (),
    );
    assert_eq!(crash.cause(), &Cause::Signal(libc::SIGBUS));
}

#[test]
fn illegal_instruction() {
    let crash = crash_of(
        |()| {
            // SAFETY: ends the process with SIGILL, which is the point.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                std::arch::asm!("ud2")
            };
            #[cfg(not(target_arch = "x86_64"))]
            // SAFETY: as above.
            unsafe {
                libc::raise(libc::SIGILL)
            };
        },
        (),
    );
    assert_eq!(crash.cause(), &Cause::Signal(libc::SIGILL));
}

#[test]
fn floating_point_exception() {
    let crash = crash_of(
        |()| {
            // SAFETY: divides by zero, which the processor answers with SIGFPE.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                std::arch::asm!("xor ecx, ecx", "xor edx, edx", "mov eax, 1", "div ecx", out("eax") _, out("ecx") _, out("edx") _)
            };
            #[cfg(not(target_arch = "x86_64"))]
            // SAFETY: as above.
            unsafe {
                libc::raise(libc::SIGFPE)
            };
        },
        (),
    );
    assert_eq!(crash.cause(), &Cause::Signal(libc::SIGFPE));
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    recurse(depth + 1) + frame[3]
}

#[test]
fn stack_overflow() {
    let crash = crash_of(recurse, 0);
    assert_eq!(crash.cause(), &Cause::StackOverflow);
    assert!(
        crash
            .backtrace()
            .expect("the handler noted the calls")
            .contains("recurse")
    );
}

#[test]
fn a_fault_that_a_task_raises_itself_is_its_own() {
    let crash = crash_of(
        |()| {
            // SAFETY: sends a signal to this thread.
            unsafe { libc::raise(libc::SIGSEGV) };
        },
        (),
    );
    assert_eq!(crash.cause(), &Cause::Signal(libc::SIGSEGV));
}

#[test]
fn a_fault_in_a_thread_of_the_task() {
    let crash = crash_of(
        |address: usize| {
            std::thread::spawn(move || read(address))
                .join()
                .unwrap_or(0)
        },
        0x40,
    );
    assert_eq!(crash.cause(), &Cause::Signal(libc::SIGSEGV));
}

#[test]
fn a_handler_of_the_tasks_own_is_not_in_the_way() {
    let crash = crash_of(
        |address: usize| {
            // SAFETY: the default action, as a library might set it.
            unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
            read(address)
        },
        0x40,
    );
    assert_eq!(crash.cause(), &Cause::Signal(libc::SIGSEGV));
    assert_eq!(crash.backtrace(), None);
}

#[test]
fn out_of_memory_under_a_limit() {
    let crash = crash_of(
        |bytes: usize| {
            let limit = rustix::process::Rlimit {
                current: Some(1 << 30),
                maximum: Some(1 << 30),
            };
            rustix::process::setrlimit(rustix::process::Resource::As, limit).expect("limited");
            std::hint::black_box(vec![1_u8; bytes]).len()
        },
        1 << 34,
    );
    assert_eq!(crash.cause(), &Cause::OutOfMemory);
}

//! Tasks that end their own process.

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};

pub(super) fn read_nowhere(address: u64) -> u64 {
    // SAFETY: none; reading there is the point.
    unsafe { std::ptr::read_volatile(address as *const u64) }
}

/// Reads from a mapping whose file was cut off meanwhile.
pub(super) fn read_past_the_end((): ()) -> u8 {
    let file = memfd_create("cut-off", MemfdFlags::CLOEXEC).expect("a memory file");
    ftruncate(&file, 4096).expect("sized");
    // SAFETY: a fresh mapping; that the access is past the file's end is the point.
    unsafe {
        let at = mmap(
            std::ptr::null_mut(),
            4096,
            ProtFlags::READ,
            MapFlags::SHARED,
            &file,
            0,
        )
        .expect("mapped");
        ftruncate(&file, 0).expect("cut off");
        std::ptr::read_volatile(at.cast::<u8>())
    }
}

pub(super) fn illegal_instruction((): ()) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: ends the process with SIGILL, which is the point.
    unsafe {
        std::arch::asm!("ud2");
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("udf #0");
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    // SAFETY: no memory is involved.
    unsafe {
        libc::raise(libc::SIGILL);
    }
}

pub(super) fn divide_by_zero((): ()) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: divides by zero, which the processor answers with SIGFPE: the point.
    unsafe {
        std::arch::asm!(
            "xor ecx, ecx",
            "mov eax, 1",
            "cdq",
            "idiv ecx",
            out("eax") _, out("ecx") _, out("edx") _,
        );
    }
    // Other processors give a result.
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: no memory is involved.
    unsafe {
        libc::raise(libc::SIGFPE);
    }
}

#[expect(unconditional_recursion, reason = "that is the point")]
pub(super) fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    recurse(depth + 1) + frame[3]
}

pub(super) fn abort((): ()) {
    std::process::abort()
}

/// Every status in its turn, beginning with 0.
pub(super) fn status(turn: u64) -> i32 {
    (turn % 256) as i32
}

#[expect(
    clippy::disallowed_methods,
    reason = "that a task calls it is the point"
)]
pub(super) fn leave(status: i32) {
    std::process::exit(status)
}

pub(super) fn leave_at_once((): ()) {
    // SAFETY: does not return, so nothing can see what it skipped.
    unsafe { libc::_exit(0) }
}

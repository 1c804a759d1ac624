//! A clock that costs a few nanoseconds to read, in units of its own: for telling long from short.
//!
//! On x86-64 it is the time stamp counter, on aarch64 the virtual counter: both go on at one rate,
//! the same on all processors. Elsewhere it is CLOCK_MONOTONIC.

/// What it says now.
pub(crate) fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: reads a register, which every x86-64 processor has. Where prctl(PR_SET_TSC)
        // forbids that, it is a SIGSEGV.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(target_arch = "aarch64")]
    {
        let ticks;
        // SAFETY: reads a register, which Linux lets programs read.
        unsafe {
            core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack));
        }
        ticks
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        super::clock::nanos()
    }
}

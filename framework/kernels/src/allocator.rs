//! Settings of the C library's allocator.
//!
//! Every tensor operation allocates its result. By default glibc takes blocks of this size from the kernel and gives
//! them back at once, so that each operation pays for page faults again: up to half of a training step.

/// Makes the allocator keep large blocks for the next tensor. To be called first thing in `main`.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub fn keep_large_blocks() {
    const KEEP: libc::c_int = 1 << 30;
    const AHEAD: libc::c_int = 64 << 20;
    // SAFETY: mallopt only sets parameters of the allocator and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEEP);
        libc::mallopt(libc::M_TOP_PAD, AHEAD);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives what is free back to the system, so that the memory of the process is what is in use.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub fn give_back() {
    // SAFETY: malloc_trim may be called at any time, by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives what is free back to the system; nothing to do on this platform.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}

/// Makes the allocator keep large blocks for the next tensor; nothing to do on this platform.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_large_blocks() {}

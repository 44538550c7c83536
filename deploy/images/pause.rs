//! The `pause` program: holds a pod's namespaces, reaps orphans, ends on SIGTERM and SIGINT.
//! Compiled alone by `scripts/lib/images.sh`, so it declares the few C functions it needs.

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn pause() -> i32;
    fn _exit(code: i32) -> !;
}

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;
const WNOHANG: i32 = 1;

extern "C" fn end(_: i32) {
    // SAFETY: _exit may be called from a signal handler.
    unsafe { _exit(0) }
}

extern "C" fn reap(_: i32) {
    // SAFETY: waitpid may be called from a signal handler, and a null status is allowed.
    unsafe { while waitpid(-1, std::ptr::null_mut(), WNOHANG) > 0 {} }
}

fn main() {
    // SAFETY: the handlers above call only what a signal handler may; pause has no preconditions.
    unsafe {
        signal(SIGINT, end);
        signal(SIGTERM, end);
        signal(SIGCHLD, reap);
        loop {
            pause();
        }
    }
}

//! Code of the host's that the library calls: its panic hook, its wakers.

use brigade::{JoinError, process};

use super::{Host, spawn_works};

pub(crate) const HOSTS: &[(&str, Host)] =
    &[("panic-hook", panic_hook), ("waker-panics", waker_panics)];

fn panic_hook(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    std::panic::set_hook(Box::new(|info| {
        eprintln!(
            "the host's hook: {}",
            info.payload().downcast_ref().unwrap_or(&"?")
        )
    }));
    match brigade::thread::spawn(|()| -> () { panic!("in a thread") }, ())?.join() {
        Err(JoinError::Panicked(panic)) if panic.location().is_some() => {}
        other => return Err(format!("{other:?}").into()),
    }
    // Replacing the hook afterwards costs the location, and nothing else.
    std::panic::set_hook(Box::new(|_| eprintln!("another hook")));
    match brigade::thread::spawn(|()| -> () { panic!("again") }, ())?.join() {
        Err(JoinError::Panicked(panic)) if panic.message() == "again" => {}
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}

/// A future whose waker panics: that is the executor's affair, and everything else goes on.
fn waker_panics(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    use std::task::{Context, Wake, Waker};
    struct Bad;
    impl Wake for Bad {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("a bad waker");
        }
    }
    brigade::init();
    let mut handle = process::spawn(
        |()| -> u32 {
            loop {
                std::thread::park();
            }
        },
        (),
    )?;
    let waker = Waker::from(std::sync::Arc::new(Bad));
    let pending = std::pin::Pin::new(&mut handle)
        .poll(&mut Context::from_waker(&waker))
        .is_pending();
    handle.cancel();
    if !pending || !matches!(handle.join(), Err(JoinError::Cancelled)) {
        return Err("it did not wait".into());
    }
    for _ in 0..12 {
        spawn_works()?;
    }
    Ok(())
}

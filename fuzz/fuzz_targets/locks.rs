#![no_main]

use std::sync::Once;
use std::sync::atomic::Ordering;

use brigade::fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // libFuzzer's own hook ends the program at any panic. A lock that is poisoned is to panic in
    // some calls, which say so beforehand.
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !fuzzing::PANICS.load(Ordering::SeqCst) {
                hook(panic);
            }
        }));
    });
    fuzzing::locks(data);
});

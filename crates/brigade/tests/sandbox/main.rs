//! What a worker in a sandbox can do, and what it cannot: every way out of `escape_room`, without
//! and within, on machines of several kinds.

mod conditions;
#[path = "../../../../examples/escape_room/escapes/mod.rs"]
mod escapes;
mod grants;
mod output;
#[path = "../../../../examples/escape_room/outside.rs"]
mod outside;
mod refusals;
mod room;
mod secrets;
mod works;

use libtest_mimic::{Arguments, Trial};

/// Workers start here, and so does this program once more, under other conditions.
fn main() {
    conditions::put_in_force();
    brigade::init();
    conditions::if_asked(room::try_all);
    secrets::if_asked();
    output::if_asked();
    let mut tests: Vec<Trial> = Vec::new();
    tests.extend(conditions::tests());
    tests.extend(works::tests());
    tests.extend(grants::tests());
    tests.extend(refusals::tests());
    tests.extend(secrets::tests());
    tests.extend(output::tests());
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

/// A test by its function's name.
#[macro_export]
macro_rules! trials {
    ($($name:ident),* $(,)?) => {
        vec![$(libtest_mimic::Trial::test(stringify!($name), || {
            $name();
            Ok(())
        })),*]
    };
}

/// The version of this kernel's Landlock; 0: there is none.
fn landlock() -> i64 {
    const VERSION: u32 = 1;
    // SAFETY: asks for a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            VERSION,
        )
    };
    version.max(0)
}

//! The program's first line.

use std::panic::Location;

use crate::worker::program_init::ProgramInit;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
use crate::{pool::crash_file::replay, worker::process::fork_server::bootstrap};

/// Makes this program able to start processes. Call it first in `main`; in a test, first in the
/// test.
///
/// Brigade starts worker processes from a second start of the same program, which never comes as
/// far as `main`: whatever `main` does, it does once. A constructor, which the loader runs before
/// `main`, tells that second start from the program. `init` declares that the program expects it:
/// without that, the first process that is asked for is an error. It costs a look through the
/// environment, and may be called again, also in a worker: then it does nothing.
///
/// As workers have not run `main`, statics that `main` has set are not set in them.
///
/// # In a library
/// A library that uses Brigade leaves `init` to the program and says so in its documentation, or
/// calls it itself before its first process: that is never too late, as the constructor has run
/// long before. In the second case a [replay](#a-crash-once-more) begins where the library calls
/// `init`, after whatever the program did until then. The library must be linked into the program:
/// by a copy of Brigade in a shared library (a plugin, a Python extension) no process of this
/// program can be started, and the error says so; those of another
/// [`Program`](crate::process::Program) can. A library that takes a [`Kind`](crate::Kind) or a
/// [`Pool`](crate::Pool) from its caller leaves the choice to the program.
///
/// # Examples
/// ```
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     brigade::init();
///     let worker = brigade::process::spawn(|name: String| format!("hello, {name}"), "world".to_owned())?;
///     assert_eq!(worker.join()?, "hello, world");
///     Ok(())
/// }
/// ```
///
/// With the feature `derive` the attributes [`#[brigade::main]`](macro@crate::main) and
/// [`#[brigade::test]`](macro@crate::test) call it.
///
/// # A crash, once more
/// A pool that [keeps crashes](crate::PoolBuilder::keep_crashes) writes a file for each task whose
/// worker died. Where the environment variable `BRIGADE_REPLAY` names such a file, `init` runs that
/// task again and never returns:
///
/// ```console
/// $ BRIGADE_REPLAY=crashes/thumbnails-decode-4711-20261121T130418Z.crash thumbnails
/// brigade: replaying task `thumbnails::decode`, whose worker died of a segmentation fault (SIGSEGV) while running, 2026-11-21T13:04:18.123Z
/// brigade: in a debugger: BRIGADE_REPLAY=/home/cook/crashes/thumbnails-decode-4711-20261121T130418Z.crash rust-gdb -ex run --args /usr/bin/thumbnails
/// Segmentation fault
/// ```
///
/// It runs in the program itself, on this thread and in no other process, so that breakpoints,
/// sanitizers and `strace` see what they see of any program. It gets the input that it had, the
/// directory and the variables that the pool's [`process::Builder`](crate::process::Builder) had
/// set, and an empty stdin; the pool's initializer runs first. A crash ends the program in its own
/// way, by its signal or its exit status; otherwise the status is
///
/// | status | the task |
/// |---|---|
/// | 0 | returned |
/// | 101 | panicked |
/// | 3 | was not run, or not to its end: its input could not be decoded, or its result not be encoded |
/// | 2 | was not run: the file is damaged, or of another build of the program; or the input came with descriptors (ends of channels, [`Shared`](crate::Shared) regions, files), which a file cannot keep |
///
/// A user that may set the program's environment can choose what it runs in this way, as with
/// `LD_PRELOAD`; so a program with more privileges than its caller (setuid) ignores the
/// variable. In a `#[test]`, a crash file of the test is replayed by the test's own program:
/// `BRIGADE_REPLAY=… target/debug/deps/name-…`.
#[doc(alias = "main")]
#[doc(alias = "freeze_support")]
pub fn init() {
    #[cfg(all(target_os = "linux", not(brigade_portable)))]
    if bootstrap::initialize() {
        replay::replay_if_asked();
    }
}

/// As [`init`], and calls `f` in the program, now, and in each of its worker processes before that
/// does anything else: for what a process has to set up for itself, such as logging.
///
/// Statics that `main` sets are not set in workers, and a subscriber that it installs is not there;
/// those that `f` sets are. It is called once in each process: the first call counts, and any other
/// waits until that has returned. Workers of a pool that was built before do without it, and so do
/// those of another [`Program`](crate::process::Program), where this program's functions are not.
/// In a worker it comes before the pool's [`initializer`](crate::PoolBuilder::initializer), after
/// the limits, the environment and the streams that its builder gives it, and before its
/// [`Sandbox`](crate::Sandbox), which threads that `f` has started must not outlive.
///
/// A worker process costs what `f` costs, and a task in a process of its own waits for it.
///
/// # Panics
/// As `f`, in the program. Where it panics or crashes in a worker, that is as with an initializer:
/// [`process::spawn`](crate::process::spawn) and [`build`](crate::PoolBuilder::build) give an
/// error, and a pool that cannot replace its workers says so.
///
/// # Examples
/// ```
/// use std::sync::OnceLock;
///
/// static NAME: OnceLock<String> = OnceLock::new();
///
/// fn set_up() {
///     NAME.set(format!("process {}", std::process::id())).expect("once in each process");
/// }
///
/// fn name(_: ()) -> Option<String> {
///     NAME.get().cloned()
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     brigade::init_with(set_up);
///     assert_eq!(name(()), Some(format!("process {}", std::process::id())));
///     let worker = brigade::process::spawn(name, ())?.join()?;
///     assert!(worker.is_some() && worker != name(()));
///     Ok(())
/// }
/// ```
///
/// The attributes have it too: `#[brigade::main(init_with = set_up)]`, and for tests
/// `#[brigade::test(init_with = set_up)]`.
#[doc(alias = "logging")]
#[track_caller]
pub fn init_with(f: fn()) {
    let at = Location::caller();
    #[cfg_attr(
        any(not(target_os = "linux"), brigade_portable),
        expect(unused_mut, reason = "nothing is replayed")
    )]
    let mut is_first = false;
    ProgramInit::run_once(f as usize, at, || {
        // It may start processes.
        #[cfg(all(target_os = "linux", not(brigade_portable)))]
        {
            is_first = bootstrap::initialize();
        }
        f();
    });
    // Not within: what is replayed may call this.
    if is_first {
        #[cfg(all(target_os = "linux", not(brigade_portable)))]
        replay::replay_if_asked();
    }
}

/// Offers a task of this program to other programs, by a name: for their
/// [`process::Program`](crate::process::Program), and for machines that run it under that name
/// ([`exported`](crate::exported)).
///
/// It stands at module level, anywhere in the program or in a library that it uses; the function is
/// a plain `fn(A) -> R`, or a closure that captures nothing. The types go with the name, and are
/// compared with those that are asked for. `main` of a program that is another's does not run, so
/// that nothing else has to be there; a program that is only that can have an empty one.
///
/// A name is one program's own: two tasks of one name are an error of the look-up. On systems
/// without processes nothing is offered.
///
/// # Examples
/// ```no_run
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Page {
///     url: String,
///     text: String,
/// }
///
/// fn count_words(page: Page) -> usize {
///     page.text.split_whitespace().count()
/// }
///
/// brigade::export!("words", count_words);
/// brigade::export!("shout", |text: String| text.to_uppercase());
///
/// fn main() {
///     brigade::init();
/// }
/// ```
#[macro_export]
#[cfg(all(target_os = "linux", not(brigade_portable)))]
macro_rules! export {
    ($name:expr, $task:expr $(,)?) => {
        const _: () = {
            static EXPORT: $crate::__export::Export = $crate::__export::Export::new(
                $name,
                || $crate::__export::describe($task, $task),
                |input| $crate::__export::run_encoded($task, input),
                |input| $crate::__export::run_repeated($task, input),
            );

            extern "C" fn register() {
                EXPORT.register();
            }

            // SAFETY: a function of a type that the loader calls the entries of this section with,
            // which may take fewer arguments than it is given; the static is only ever read by the
            // loader.
            #[used]
            #[unsafe(link_section = ".init_array")]
            static CONSTRUCTOR: extern "C" fn() = register;
        };
    };
}

/// Offers a task of this program to other programs: on this system there are none.
#[macro_export]
#[cfg(any(not(target_os = "linux"), brigade_portable))]
macro_rules! export {
    ($name:expr, $task:expr $(,)?) => {
        const _: () = {
            const _: &str = $name;

            fn check() {
                fn is_task<A: $crate::Message, R: $crate::Message>(_: fn(A) -> R) {}
                is_task($task);
            }
            let _ = check;
        };
    };
}

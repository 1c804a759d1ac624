//! Tasks whose functions lie in a shared library (`examples/tasks.rs`): linked to the program, or
//! loaded by it before or after it has started its first process.

use std::ffi::{CString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::process::Output;

use brigade::supervise::{AutoShutdown, Child, Exit, Restart, Strategy, Supervisor};
use brigade::{Cause, JoinError, Kind, Pool, Sandbox, process};
use libtest_mimic::Trial;

use crate::hosts::{Host, double};
use crate::observe::{check, host};
use crate::trials::trial;

type Error = Box<dyn std::error::Error>;
type Task = fn(u32) -> u32;

pub(crate) const HOSTS: &[(&str, Host)] = &[
    ("calls-library", calls),
    ("library-crashes", crashes),
    ("library-in-sandbox", in_sandbox),
    ("library-is-replaced", replaced),
    ("library-without-build-id", refused),
    ("has-a-plugin", has_plugin),
    ("plugin-calls-program", plugin_calls),
];

pub(crate) fn trials() -> Vec<Trial> {
    let calls =
        |when: &'static str| move || with_tasks(|path| runs("calls-library", path, &[when]));
    vec![
        trial("tasks_of_a_library_that_was_loaded_first", calls("before")),
        trial(
            "of_one_that_was_loaded_after_the_fork_server",
            calls("after"),
        ),
        trial("of_one_that_the_program_is_linked_to", || {
            with_tasks(|path| {
                let mut command = host("calls-library");
                command.arg(path).arg("linked").env("LD_PRELOAD", path);
                check("linked", command.output().expect("starts"));
            });
        }),
        trial("a_crash_in_a_library_is_told_and_replayed", || {
            with_tasks(crash_is_replayed)
        }),
        trial("a_library_in_a_sandbox", || {
            with_tasks(|path| runs("library-in-sandbox", path, &[]))
        }),
        trial("a_library_that_was_replaced_is_not_called", || {
            with_tasks(|path| {
                let copy = Copy::of(path, "replaced");
                runs("library-is-replaced", &copy.0, &[]);
            });
        }),
        trial("a_library_without_a_build_id_is_refused", || {
            with_tasks(|path| {
                let copy = Copy::of(path, "without");
                let mut bytes = std::fs::read(&copy.0).expect("read");
                bytes[build_id_note(path) + 8] = 0x7f;
                copy.put(&bytes);
                runs("library-without-build-id", &copy.0, &[]);
            });
        }),
        trial("a_plugin_with_brigade_in_it_is_no_fork_server", || {
            with_example("libplugin.so", |path| {
                let output = host("has-a-plugin").env("LD_PRELOAD", path).output();
                check("has-a-plugin", output.expect("starts"));
            });
        }),
        trial("a_plugin_has_workers_of_a_program", || {
            with_example("libplugin.so", |path| {
                runs("plugin-calls-program", path, &[]);
            });
        }),
    ]
}

brigade::export!("double", double);

fn with_tasks(test: impl FnOnce(&Path)) {
    with_example("libtasks.so", test);
}

fn with_example(name: &str, test: impl FnOnce(&Path)) {
    let exe = std::env::current_exe().expect("this program");
    let profile = exe.parent().and_then(Path::parent).expect("a directory");
    let library = profile.join("examples").join(name);
    if !library.exists() {
        eprintln!("skipped, because {name} is not built: cargo build --examples");
        return;
    }
    test(&library);
}

fn runs(name: &str, library: &Path, args: &[&str]) {
    let output = host(name).arg(library).args(args).output();
    check(name, output.expect("starts"));
}

/// A copy of a library, gone when dropped.
struct Copy(PathBuf);

impl Copy {
    fn of(library: &Path, name: &str) -> Copy {
        let name = format!("brigade-library-{}-{name}.so", std::process::id());
        let copy = Copy(std::env::temp_dir().join(name));
        copy.put(&std::fs::read(library).expect("read"));
        copy
    }

    /// A new file: the old one may be mapped.
    fn put(&self, bytes: &[u8]) {
        let _ = std::fs::remove_file(&self.0);
        std::fs::write(&self.0, bytes).expect("written");
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Where the note with the build id is in a library's file: the length of its owner, the length of
/// the id, the type, the owner.
fn build_id_note(library: &Path) -> usize {
    let bytes = std::fs::read(library).expect("read");
    let mut owners = (12..bytes.len()).filter(|&at| bytes[at..].starts_with(b"GNU\0"));
    let is_id =
        |at: &usize| bytes[at - 12..*at - 8] == [4, 0, 0, 0] && bytes[at - 4..*at] == [3, 0, 0, 0];
    owners.find(is_id).expect("it has a build id") - 12
}

// ---- hosts

/// A library that is loaded.
struct Library(*mut c_void);

impl Library {
    fn load(path: &str) -> Result<Library, Error> {
        let path = CString::new(path)?;
        // SAFETY: the library is one of `examples/`, whose constructors do no harm.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        match library.is_null() {
            true => Err("the library cannot be loaded".into()),
            false => Ok(Library(library)),
        }
    }

    fn symbol(&self, name: &str) -> Result<*mut c_void, Error> {
        let symbol = CString::new(name)?;
        // SAFETY: the library stays loaded.
        let address = unsafe { libc::dlsym(self.0, symbol.as_ptr()) };
        match address.is_null() {
            true => Err(format!("the library has no {name}").into()),
            false => Ok(address),
        }
    }

    fn task(&self, name: &str) -> Result<Task, Error> {
        let find = self.symbol("find_task")?;
        // SAFETY: the type that it has in `examples/tasks.rs`, which the same compiler has built.
        let find = unsafe { std::mem::transmute::<*mut c_void, fn(&str) -> Option<Task>>(find) };
        find(name).ok_or_else(|| format!("the library has no task {name}").into())
    }

    fn initializer(&self) -> Result<fn(), Error> {
        let initialize = self.symbol("initialize_tasks")?;
        // SAFETY: as above.
        Ok(unsafe { std::mem::transmute::<*mut c_void, fn()>(initialize) })
    }
}

fn argument(args: &[String], n: usize) -> Result<&str, Error> {
    Ok(args.get(n).ok_or("an argument is missing")?)
}

fn calls(args: &[String]) -> Result<(), Error> {
    brigade::init();
    let (path, when) = (argument(args, 0)?, argument(args, 1)?);
    let library = (when == "before")
        .then(|| Library::load(path))
        .transpose()?;
    let early = Pool::processes(2)?;
    // Its workers are there, and so are spares.
    assert_eq!(early.submit(double, 1).join()?, 2);
    let library = library.map_or_else(|| Library::load(path), Ok)?;
    let task = library.task("double")?;

    assert_eq!(process::spawn(task, 21)?.join()?, 42);
    let late = Pool::processes(1)?;
    for pool in [&early, &late] {
        assert_eq!(pool.submit(task, 21).join()?, 42);
        let doubled = pool.map(task, 0..300).collect::<Result<Vec<_>, _>>()?;
        assert!((0..300).map(|n| 2 * n).eq(doubled));
        // One of the program's, one of the library's, and so on.
        let handles = (0..100).map(|n| pool.submit(if n % 2 == 0 { task } else { double }, n));
        for (n, handle) in handles.enumerate().collect::<Vec<_>>() {
            assert_eq!(handle.join()?, 2 * n as u32);
        }
    }
    let named = process::Builder::new().name("of a library");
    assert_eq!(named.spawn(task, 4)?.join()?, 8);

    let initialized = Pool::builder(Kind::Process)
        .workers(1)
        .initializer(library.initializer()?)
        .build()?;
    assert_eq!(initialized.submit(library.task("add")?, 1).join()?, 1001);
    let with_state = Pool::builder(Kind::Process).workers(1).state(task, 3);
    let with_state = with_state.build()?;
    assert_eq!(
        with_state
            .submit(|state: &u32, n: u32| state + n, 1)
            .join()?,
        7
    );

    let checked = library.symbol("check_number")?;
    // SAFETY: the type that it has in `examples/tasks.rs`, which the same compiler has built.
    let checked = unsafe { std::mem::transmute::<*mut c_void, fn(u32)>(checked) };
    let child = Child::new(Kind::Process, "checks", checked, 7);
    let report = Supervisor::new(Strategy::OneForOne)
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(child.restart(Restart::Transient).significant(true))
        .start()?
        .join();
    assert!(
        matches!(report.children()[0].exit(), Some(Exit::Returned)),
        "{report:?}"
    );
    Ok(())
}

fn crashes(args: &[String]) -> Result<(), Error> {
    brigade::init();
    let dir = PathBuf::from(argument(args, 1)?);
    let early = Pool::builder(Kind::Process)
        .workers(1)
        .keep_crashes(dir)
        .build()?;
    assert_eq!(early.submit(double, 1).join()?, 2);
    let library = Library::load(argument(args, 0)?)?;
    let crashed = early.submit(library.task("crash")?, 2).join();
    let Err(JoinError::Crashed(crash)) = crashed else {
        return Err(format!("no crash: {crashed:?}").into());
    };
    assert_eq!(crash.cause(), &Cause::Abort, "{crash}");
    assert!(crash.task().ends_with("tasks::crash"), "{crash}");
    let calls = crash.backtrace().unwrap_or_default();
    assert_eq!(calls.matches("tasks::crash").count(), 3, "{calls}");
    println!("file {}", crash.file().ok_or("no file")?.display());

    // Its panics are those of a standard library of its own, which another cannot catch.
    let failed = early.submit(library.task("fail")?, 2).join();
    assert!(
        matches!(&failed, Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::Abort),
        "{failed:?}"
    );
    assert_eq!(early.submit(library.task("double")?, 1).join()?, 2);
    Ok(())
}

fn crash_is_replayed(library: &Path) {
    let dir = std::env::temp_dir().join(format!("brigade-library-crash-{}", std::process::id()));
    let mut command = host("library-crashes");
    let output = command.arg(library).arg(&dir).output().expect("starts");
    let output = check("library-crashes", output);
    let out = String::from_utf8_lossy(&output.stdout);
    let file = out.lines().find_map(|line| line.strip_prefix("file "));
    let mut command = host("library-crashes");
    let replay: Output = command
        .env("BRIGADE_REPLAY", file.expect("a crash file"))
        .output()
        .expect("starts");
    std::fs::remove_dir_all(&dir).expect("removed");
    let err = String::from_utf8_lossy(&replay.stderr);
    assert!(err.contains("replaying task"), "{err}");
    let ended = std::os::unix::process::ExitStatusExt::signal(&replay.status);
    assert_eq!(ended, Some(libc::SIGABRT), "{err}");
}

fn in_sandbox(args: &[String]) -> Result<(), Error> {
    brigade::init();
    let shut_in = process::Builder::new().sandbox(Sandbox::deny_all().prefer());
    let pool = || {
        Pool::builder(Kind::Process)
            .workers(1)
            .process(shut_in.clone())
            .build()
    };
    let early = pool()?;
    assert_eq!(early.submit(double, 1).join()?, 2);
    let task = Library::load(argument(args, 0)?)?.task("double")?;
    assert_eq!(shut_in.spawn(task, 2)?.join()?, 4);
    // It is shut in before it hears of the library.
    let refused = early.submit(task, 2).join();
    match &refused {
        Err(JoinError::Undeliverable(why)) => {
            assert!(why.contains("cannot load"), "{why}");
            println!("{why}");
        }
        // Where this kernel cannot shut it in.
        Ok(4) => eprintln!("skipped in part, because nothing is enforced here"),
        _ => return Err(format!("{refused:?}").into()),
    }
    assert_eq!(early.submit(double, 1).join()?, 2);
    assert_eq!(pool()?.submit(task, 2).join()?, 4);
    Ok(())
}

fn replaced(args: &[String]) -> Result<(), Error> {
    brigade::init();
    let path = Path::new(argument(args, 0)?);
    let pool = Pool::processes(1)?;
    let library = Library::load(argument(args, 0)?)?;
    let copy = Copy(path.to_owned());
    let mut bytes = std::fs::read(path)?;
    bytes[build_id_note(path) + 16] ^= 0xff;
    copy.put(&bytes);
    for ended in [
        pool.submit(library.task("double")?, 1).join(),
        process::spawn(library.task("double")?, 1)?.join(),
    ] {
        match ended {
            Err(JoinError::Undeliverable(why)) => {
                assert!(
                    why.contains("another build of it is at its path now"),
                    "{why}"
                );
            }
            other => return Err(format!("{other:?}").into()),
        }
    }
    drop(std::fs::remove_file(path));
    let ended = process::spawn(library.task("double")?, 1)?.join();
    assert!(
        matches!(&ended, Err(JoinError::Undeliverable(why)) if why.contains("No such file")),
        "{ended:?}"
    );
    assert_eq!(pool.submit(double, 1).join()?, 2);
    Ok(())
}

fn refused(args: &[String]) -> Result<(), Error> {
    brigade::init();
    let library = Library::load(argument(args, 0)?)?;
    let error = process::spawn(library.task("double")?, 1)
        .err()
        .ok_or("it worked")?;
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("has no build id"), "{error}");
    Ok(())
}

/// The plugin, which has Brigade in it, was loaded before the program began: its constructor runs
/// first, in the fork server too.
fn has_plugin(_: &[String]) -> Result<(), Error> {
    brigade::init();
    assert_eq!(process::spawn(double, 21)?.join()?, 42);
    // What the plugin's copy would be asked for it could not list.
    let program = process::Program::open(std::env::current_exe()?)?;
    let task = program.task::<u32, u32>("double")?;
    assert_eq!(program.spawn(&task, 2)?.join()?, 4);
    Ok(())
}

fn plugin_calls(args: &[String]) -> Result<(), Error> {
    let library = Library::load(argument(args, 0)?)?;
    let call = library.symbol("brigade_plugin_call")?;
    let program = CString::new(
        std::env::current_exe()?
            .into_os_string()
            .into_encoded_bytes(),
    )?;
    // SAFETY: the type that it has in `examples/plugin.rs`. What it gives is a C string that stays.
    let told = unsafe {
        type Call = unsafe extern "C" fn(*const c_char) -> *const c_char;
        let call = std::mem::transmute::<*mut c_void, Call>(call);
        std::ffi::CStr::from_ptr(call(program.as_ptr()))
    };
    assert_eq!(told.to_str()?, "99 numbers, 9900 in all");
    Ok(())
}

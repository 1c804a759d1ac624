//! What is granted can be had, and nothing beside it.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use brigade::{Cause, JoinError, Sandbox, process};
use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    let paths = crate::trials![
        what_is_granted_is_read_and_nothing_beside_it,
        metadata_can_be_had_of_what_may_be_read,
        what_is_granted_is_written_and_not_read,
        no_program_is_made_that_others_run_as_its_owner,
        a_file_is_granted_by_itself,
        a_link_is_what_it_points_to_at_the_start,
        a_link_out_of_what_is_granted_leads_nowhere,
        a_path_that_is_not_there_is_an_error_of_the_start,
        programs_that_are_granted_run_in_the_same_sandbox,
        a_file_in_memory_is_no_granted_program,
    ];
    let ports = crate::trials![a_port_is_connected_to_and_no_other, a_port_is_listened_on];
    let since = |tests: Vec<Trial>, version| {
        let is_older = crate::landlock() < version;
        let tests = tests.into_iter();
        tests.map(move |test| test.with_ignored_flag(is_older))
    };
    let refused = crate::trials![what_cannot_be_granted_is_refused_by_name];
    since(paths, 1)
        .chain(since(ports, 4))
        .chain(refused)
        .collect()
}

/// On a kernel that cannot.
fn what_cannot_be_granted_is_refused_by_name() {
    let version = crate::landlock();
    let why = |sandbox: Sandbox| {
        let started = within(sandbox.prefer()).spawn(|()| (), ());
        started.map(drop).map_err(|e| e.to_string())
    };
    let (path, port) = (
        why(Sandbox::deny_all().read("/")),
        why(Sandbox::deny_all().connect(1)),
    );
    assert_eq!(path.is_ok(), version >= 1, "{path:?}");
    assert_eq!(port.is_ok(), version >= 4, "{port:?}");
    assert!(path.err().is_none_or(|why| why.contains("5.13")));
    assert!(
        port.err()
            .is_none_or(|why| why.contains("6.7") || why.contains("5.13"))
    );
}

/// A directory that anybody may read and write.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("brigade-grants-{}-{number}", std::process::id());
        let directory = Directory(std::env::temp_dir().join(name));
        for sub in ["", "granted", "other"] {
            let path = directory.0.join(sub);
            fs::create_dir(&path).expect("made");
            fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).expect("set");
        }
        directory.file("granted/file");
        directory.file("other/file");
        directory
    }

    fn file(&self, name: &str) {
        fs::write(self.0.join(name), name).expect("written");
        fs::set_permissions(self.0.join(name), PermissionsExt::from_mode(0o666)).expect("set");
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn within(sandbox: Sandbox) -> process::Builder {
    process::Builder::new().sandbox(sandbox)
}

type Said<T> = Result<T, Option<i32>>;

fn errno(e: io::Error) -> Option<i32> {
    e.raw_os_error()
}

fn read(path: String) -> Said<String> {
    fs::read_to_string(path).map_err(errno)
}

fn write(path: String) -> Said<()> {
    fs::write(path, "written").map_err(errno)
}

const DENIED: Option<i32> = Some(libc::EACCES);

fn ask<A: brigade::Message, R: brigade::Message>(
    builder: &process::Builder,
    task: fn(A) -> R,
    input: A,
) -> R {
    builder
        .spawn(task, input)
        .expect("a worker")
        .join()
        .expect("it ends")
}

fn what_is_granted_is_read_and_nothing_beside_it() {
    let d = Directory::new();
    let reads = within(Sandbox::deny_all().read(d.path("granted")));
    assert_eq!(
        ask(&reads, read, d.path("granted/file")),
        Ok("granted/file".to_owned())
    );
    assert_eq!(ask(&reads, read, d.path("other/file")), Err(DENIED));
    assert_eq!(
        ask(&reads, read, d.path("granted/../other/file")),
        Err(DENIED)
    );
    assert_eq!(ask(&reads, write, d.path("granted/file")), Err(DENIED));
    assert_eq!(ask(&reads, write, d.path("granted/new")), Err(DENIED));
    /// Which is for reading only, and empties it.
    fn empty(path: String) -> Said<()> {
        let mut options = fs::File::options();
        let emptied = options.read(true).custom_flags(libc::O_TRUNC).open(path);
        emptied.map(drop).map_err(errno)
    }
    assert_eq!(
        ask(&reads, empty, d.path("granted/file")),
        Err(Some(libc::EPERM))
    );
    fn list(path: String) -> Said<Vec<String>> {
        let entries = fs::read_dir(path).map_err(errno)?;
        let name = |e: io::Result<fs::DirEntry>| Ok(e.map_err(errno)?.file_name());
        let names = entries.map(name).collect::<Said<Vec<_>>>()?;
        Ok(names
            .into_iter()
            .filter_map(|n| n.into_string().ok())
            .collect())
    }
    assert_eq!(
        ask(&reads, list, d.path("granted")),
        Ok(vec!["file".to_owned()])
    );
    assert_eq!(ask(&reads, list, d.path("other")), Err(DENIED));
}

fn metadata_can_be_had_of_what_may_be_read() {
    let d = Directory::new();
    symlink("file", d.path("granted/link")).expect("made");
    fn len(path: String) -> Said<u64> {
        fs::metadata(path).map(|m| m.len()).map_err(errno)
    }
    fn is_there(path: String) -> Said<bool> {
        fs::exists(path).map_err(errno)
    }
    for sandbox in [
        Sandbox::deny_all().read(d.path("granted")),
        Sandbox::deny_all()
            .read(d.path("granted"))
            .write(d.path("granted")),
        Sandbox::deny_all().write(d.path("granted")),
    ] {
        let b = within(sandbox);
        assert_eq!(ask(&b, len, d.path("granted/file")), Ok(12));
        assert_eq!(ask(&b, len, d.path("granted/link")), Ok(12));
        assert_eq!(ask(&b, len, d.path("other/file")), Err(DENIED));
        assert_eq!(ask(&b, is_there, d.path("granted/none")), Ok(false));
    }
    let reads = within(Sandbox::deny_all().read(d.path("granted")));
    fn open_len(path: String) -> Said<u64> {
        let file = fs::File::open(path).map_err(errno)?;
        Ok(file.metadata().map_err(errno)?.len())
    }
    assert_eq!(ask(&reads, open_len, d.path("granted/file")), Ok(12));
    assert_eq!(
        ask(&reads, len, d.path("granted")),
        Ok(fs::metadata(d.path("granted")).expect("there").len())
    );
}

fn what_is_granted_is_written_and_not_read() {
    let d = Directory::new();
    let writes = within(Sandbox::deny_all().write(d.path("granted")));
    assert_eq!(ask(&writes, write, d.path("granted/file")), Ok(()));
    assert_eq!(ask(&writes, write, d.path("granted/new")), Ok(()));
    assert_eq!(ask(&writes, write, d.path("other/new")), Err(DENIED));
    assert_eq!(ask(&writes, read, d.path("granted/file")), Err(DENIED));
    assert_eq!(
        fs::read_to_string(d.path("granted/new")).expect("there"),
        "written"
    );
    fn change(directory: String) -> Said<()> {
        let path = |name| format!("{directory}/{name}");
        fs::create_dir(path("made")).map_err(errno)?;
        fs::rename(path("new"), path("renamed")).map_err(errno)?;
        fs::remove_dir(path("made")).map_err(errno)?;
        fs::remove_file(path("renamed")).map_err(errno)
    }
    assert_eq!(ask(&writes, change, d.path("granted")), Ok(()));
    fn out((from, to): (String, String)) -> Said<()> {
        fs::rename(from, to).map_err(errno)
    }
    let moved = ask(
        &writes,
        out,
        (d.path("granted/file"), d.path("other/stolen")),
    );
    assert!(moved.is_err(), "{moved:?}");
}

/// Set-user-ID and set-group-ID: systems have users who may start it.
fn no_program_is_made_that_others_run_as_its_owner() {
    type Made = Vec<Said<u32>>;
    fn make((directory, way): (String, u32)) -> Made {
        let create = |bits: u32| {
            let path = format!("{directory}/made-{way}-{bits:o}");
            // SAFETY: the path is there.
            let made = unsafe {
                let path = std::ffi::CString::new(path).expect("no zero byte");
                match way {
                    0 => libc::open(path.as_ptr(), libc::O_CREAT | libc::O_WRONLY, bits),
                    1 => libc::open(path.as_ptr(), libc::O_CREAT | libc::O_RDONLY, bits),
                    2 => libc::creat(path.as_ptr(), bits),
                    _ => {
                        let flags = libc::O_TMPFILE | libc::O_RDWR;
                        let directory = std::ffi::CString::new(&*directory).expect("a path");
                        libc::open(directory.as_ptr(), flags, bits)
                    }
                }
            };
            if made == -1 {
                return Err(errno(io::Error::last_os_error()));
            }
            // SAFETY: it was just made; a zeroed `stat` is a valid one.
            let of = unsafe {
                let mut of: libc::stat = std::mem::zeroed();
                libc::fstat(made, &raw mut of);
                libc::close(made);
                of
            };
            Ok(of.st_mode & 0o7777)
        };
        // SAFETY: a number. No bit is taken away.
        unsafe { libc::umask(0) };
        [0o755, 0o4755, 0o2755, 0o6755].map(create).into()
    }
    let d = Directory::new();
    let plain = process::Builder::new();
    let both = Sandbox::deny_all()
        .read(d.path("granted"))
        .write(d.path("granted"));
    let shut_in = within(both.clone());
    let deadly = within(both.kill_on_violation());
    for way in 0..4 {
        let bits = [0o755, 0o4755, 0o2755, 0o6755].map(Ok);
        let outside = ask(&plain, make, (d.path("other"), way));
        // A file system may have no nameless files.
        if outside.first() == Some(&Err(Some(libc::EOPNOTSUPP))) {
            continue;
        }
        assert_eq!(outside, bits, "way {way}");
        let refused = Err(Some(libc::EPERM));
        let expected = [Ok(0o755), refused, refused, refused];
        assert_eq!(ask(&shut_in, make, (d.path("granted"), way)), expected);
        let worker = deadly.spawn(make, (d.path("granted"), way));
        match worker.expect("a worker").join() {
            Err(JoinError::Crashed(crash)) => match crash.cause() {
                Cause::Sandbox(what) => assert!(what.contains("granted"), "{what}"),
                other => panic!("way {way}: {other}"),
            },
            other => panic!("way {way}: {other:?}"),
        }
    }
}

fn a_file_is_granted_by_itself() {
    let d = Directory::new();
    d.file("granted/second");
    let one = Sandbox::deny_all()
        .read(d.path("granted/file"))
        .write(d.path("granted/second"));
    let b = within(one);
    assert_eq!(
        ask(&b, read, d.path("granted/file")),
        Ok("granted/file".to_owned())
    );
    assert_eq!(ask(&b, read, d.path("granted/second")), Err(DENIED));
    assert_eq!(ask(&b, write, d.path("granted/second")), Ok(()));
    assert_eq!(ask(&b, write, d.path("granted/file")), Err(DENIED));
}

fn a_link_is_what_it_points_to_at_the_start() {
    let d = Directory::new();
    symlink(d.path("granted"), d.path("link")).expect("made");
    let reads = within(Sandbox::deny_all().read(d.path("link")));
    assert_eq!(
        ask(&reads, read, d.path("granted/file")),
        Ok("granted/file".to_owned())
    );
    assert_eq!(
        ask(&reads, read, d.path("link/file")),
        Ok("granted/file".to_owned())
    );
    assert_eq!(ask(&reads, read, d.path("other/file")), Err(DENIED));
}

fn a_link_out_of_what_is_granted_leads_nowhere() {
    let d = Directory::new();
    symlink(d.path("other/file"), d.path("granted/out")).expect("made");
    let both = within(
        Sandbox::deny_all()
            .read(d.path("granted"))
            .write(d.path("granted")),
    );
    assert_eq!(ask(&both, read, d.path("granted/out")), Err(DENIED));
    fn link_and_read((target, link): (String, String)) -> Said<String> {
        symlink(target, &link).map_err(errno)?;
        fs::read_to_string(link).map_err(errno)
    }
    let own = (d.path("other/file"), d.path("granted/own"));
    assert_eq!(ask(&both, link_and_read, own), Err(DENIED));
}

fn a_path_that_is_not_there_is_an_error_of_the_start() {
    for sandbox in [
        Sandbox::deny_all().read("/no/such/path"),
        Sandbox::deny_all().write("/no/such/path").prefer(),
    ] {
        let started = within(sandbox).spawn(|()| (), ());
        let why = started
            .map(drop)
            .expect_err("there is no such path")
            .to_string();
        assert!(
            why.contains("/no/such/path") && why.contains("No such file"),
            "{why}"
        );
    }
}

fn programs_that_are_granted_run_in_the_same_sandbox() {
    let d = Directory::new();
    fn run((program, argument): (String, String)) -> Said<(Option<i32>, String)> {
        let output = std::process::Command::new(program).arg(argument).output();
        let output = output.map_err(errno)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output.status.code(), text))
    }
    let granted = Sandbox::deny_all().execute("/usr").read("/etc/ld.so.cache");
    let runs = within(as_can_be_had(granted.read(d.path("granted"))));
    let cat = |name| ("/usr/bin/cat".to_owned(), d.path(name));
    let granted = Ok((Some(0), "granted/file".to_owned()));
    assert_eq!(ask(&runs, run, cat("granted/file")), granted);
    let (status, text) = ask(&runs, run, cat("other/file")).expect("it runs");
    assert_eq!((status, text.as_str()), (Some(1), ""));
    let own = d.path("granted/program");
    fs::copy("/usr/bin/true", &own).expect("copied");
    assert_eq!(ask(&runs, run, (own, String::new())), Err(DENIED));
}

/// `MFD_NOEXEC_SEAL`.
const PLAIN: u32 = 8;

/// A file in memory.
fn make(flags: u32) -> Said<()> {
    // SAFETY: a name, and flags; what is made is closed.
    unsafe {
        match libc::memfd_create(c"program".as_ptr(), flags) {
            -1 => Err(errno(io::Error::last_os_error())),
            made => {
                libc::close(made);
                Ok(())
            }
        }
    }
}

/// Whether any file in memory may be a program, to whom programs are granted: before Linux 6.3 none
/// can be made that is not to be executed.
pub(crate) fn files_in_memory_are_programs() -> bool {
    make(PLAIN).is_err()
}

/// As a sandbox that grants programs has to be to be had here.
pub(crate) fn as_can_be_had(sandbox: Sandbox) -> Sandbox {
    match files_in_memory_are_programs() {
        true => sandbox.prefer(),
        false => sandbox,
    }
}

fn a_file_in_memory_is_no_granted_program() {
    let granted = Sandbox::deny_all().execute("/usr");
    if files_in_memory_are_programs() {
        // The error of a start that requires it says so.
        let started = within(granted.clone()).spawn(|()| (), ()).map(drop);
        let why = started.expect_err("an effect is not had").to_string();
        assert!(why.contains("Linux 6.3"), "{why}");
        assert_eq!(ask(&within(granted.prefer()), make, 0), Ok(()));
        return;
    }
    let runs = within(granted);
    assert_eq!(ask(&runs, make, 0), Err(Some(libc::EPERM)));
    // Not to be executed, which the kernel holds to.
    assert_eq!(ask(&runs, make, PLAIN), Ok(()));
}

fn connect(port: u16) -> Said<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(errno)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(errno)?;
    Ok(text)
}

fn a_port_is_connected_to_and_no_other() {
    let server = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let (granted, other) = (server(), server());
    let port = |of: &TcpListener| of.local_addr().expect("bound").port();
    let b = within(Sandbox::deny_all().connect(port(&granted)));
    assert_eq!(ask(&b, connect, port(&other)), Err(DENIED));
    let connected = b.spawn(connect, port(&granted)).expect("a worker");
    let (mut stream, _) = granted.accept().expect("it connects");
    stream.write_all(b"hello").expect("sent");
    drop(stream);
    assert_eq!(connected.join().expect("ok"), Ok("hello".to_owned()));
    fn listen(_: ()) -> Said<()> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .map(drop)
            .map_err(errno)
    }
    assert!(ask(&b, listen, ()).is_err());
    /// Another protocol in TCP's place.
    fn replace(_: ()) -> Said<()> {
        let name = c"tls";
        // SAFETY: system calls with memory that is there.
        let replaced = unsafe {
            let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
            assert!(socket >= 0, "a socket of TCP is granted");
            let (name, len) = (name.as_ptr().cast(), 4);
            libc::setsockopt(socket, libc::IPPROTO_TCP, libc::TCP_ULP, name, len)
        };
        match replaced {
            0 => Ok(()),
            _ => Err(errno(io::Error::last_os_error())),
        }
    }
    let refused = [Err(Some(libc::EPERM)), Err(DENIED)];
    assert!(refused.contains(&ask(&b, replace, ())));
}

fn a_port_is_listened_on() {
    // Not one of those that the kernel gives away.
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    let port = (first..).find(is_free).expect("a free port");
    fn serve((port, ready): (u16, brigade::channel::Sender<Said<()>>)) -> Said<()> {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(errno);
        let said = server.as_ref().map(drop).map_err(|e| *e);
        ready.send(said).expect("the program listens");
        let (mut stream, _) = server?.accept().map_err(errno)?;
        stream.write_all(b"served").map_err(errno)
    }
    let b = within(Sandbox::deny_all().listen(port));
    let (ready, is_ready) = brigade::channel::pipe(1).expect("a channel");
    let worker = b.spawn(serve, (port, ready)).expect("a worker");
    assert_eq!(is_ready.recv().expect("it says"), Ok(()));
    assert_eq!(connect(port), Ok("served".to_owned()));
    assert_eq!(worker.join().expect("ok"), Ok(()));
    let (ready, is_ready) = brigade::channel::pipe(1).expect("a channel");
    let other = b
        .spawn(serve, (port.wrapping_add(1).max(1024), ready))
        .expect("a worker");
    assert_eq!(is_ready.recv().expect("it says"), Err(DENIED));
    assert!(other.join().expect("ok").is_err());
}

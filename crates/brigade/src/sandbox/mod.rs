//! What a worker process may reach: nothing, but what it is granted. See [`Sandbox`].

mod report;

use std::ffi::OsString;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::process;
use crate::worker::process::applied_in_this_worker;

pub use crate::process::Enforcement;
pub(crate) use report::Applied;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) use report::effects;
pub use report::{Effect, Report};

/// Shuts a worker process in, before it runs its first task: it reaches nothing outside, but what
/// it is granted here. For [`process::Builder::sandbox`].
///
/// Without grants ([`deny_all`](Sandbox::deny_all)) a task can compute, allocate memory, start
/// threads, panic, print, ask for the time and for random numbers, and use what it was given: its
/// input, its descriptors, the channels and the shared memory in it. What else it tries fails with
/// an error that it can handle (`EACCES`, `EPERM`, `ENOSYS`, `EAFNOSUPPORT`).
///
/// What is asked for are [`Effect`]s, and not mechanisms. Under [`require`](Sandbox::require), the
/// default, no worker is started where one of them cannot be had; [`report`](Sandbox::report) tells
/// by what each is enforced on this machine. No privilege and no user namespace is needed.
///
/// What a worker prints to stdout is passed on to the program's by whole lines, as what it writes
/// to stderr is, and may come there after the task's result: the worker has no hold on the
/// program's stdout itself.
///
/// The environment of a worker is empty but for what [`process::Builder::env`] sets, and its
/// directory is `/` unless [`process::Builder::current_dir`] names another. The
/// [initializer](crate::PoolBuilder::initializer) of a pool runs before: what tasks need of the
/// system (fonts, tables, a time zone, libraries) is loaded there. It may leave no thread running.
///
/// Mechanisms: seccomp(2), landlock(7), prctl(2) `PR_SET_NO_NEW_PRIVS`, capabilities(7). The
/// repository's SECURITY.md says what a hostile task can do all the same.
///
/// *Default of a worker: no sandbox.*
///
/// # Examples
/// ```
/// use brigade::{Sandbox, process};
///
/// fn words(path: String) -> Result<usize, String> {
///     let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
///     Ok(text.split_whitespace().count())
/// }
///
/// brigade::init();
/// let shut_in = process::Builder::new().sandbox(Sandbox::deny_all());
/// let counted = shut_in.spawn(words, "/etc/passwd".to_owned())?.join()?;
/// assert_eq!(counted, Err("Permission denied (os error 13)".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a sandbox is for `process::Builder::sandbox`"]
pub struct Sandbox(pub(crate) Rules);

/// A sandbox, as it goes to a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// Paths, as bytes.
    pub(crate) read: Vec<Vec<u8>>,
    pub(crate) write: Vec<Vec<u8>>,
    pub(crate) execute: Vec<Vec<u8>>,
    /// TCP ports.
    pub(crate) connect: Vec<u16>,
    pub(crate) listen: Vec<u16>,
    /// A worker starts although an effect cannot be had.
    pub(crate) best_effort: bool,
    /// What is refused ends the worker.
    pub(crate) kill: bool,
    /// The user and the group that a worker of a program that is root becomes.
    pub(crate) user: Option<(u32, u32)>,
}

impl Rules {
    /// Whether anything of the file system is granted.
    pub(crate) fn has_paths(&self) -> bool {
        !(self.read.is_empty() && self.write.is_empty() && self.execute.is_empty())
    }

    /// Whether anything of the network is granted.
    pub(crate) fn has_ports(&self) -> bool {
        !(self.connect.is_empty() && self.listen.is_empty())
    }
}

fn bytes(path: impl AsRef<Path>) -> Vec<u8> {
    OsString::from(path.as_ref()).into_encoded_bytes()
}

impl Sandbox {
    /// Nothing is granted.
    pub fn deny_all() -> Sandbox {
        Sandbox(Rules::default())
    }

    /// Grants reading: this file, or the files and directories beneath this directory.
    ///
    /// The path is looked up when a worker is started, by the worker, in its directory; what a
    /// symbolic link points to then is what is granted. A path that does not exist is an error of
    /// the start. Reading means the contents, the names in directories, and the metadata of what
    /// may be read. The metadata does not show whether a file may not be read or does not exist;
    /// the error of opening it does.
    pub fn read(mut self, path: impl AsRef<Path>) -> Sandbox {
        self.0.read.push(bytes(path));
        self
    }

    /// Grants writing: to this file, or to what is beneath this directory, where files and
    /// directories may also be made, renamed and removed. It grants no reading, and no change of
    /// owners, permissions and times; nor can a file be made that others run as its owner
    /// (set-user-ID). See [`read`](Self::read) for how the path is looked up.
    ///
    /// A hostile task may leave symbolic links in such a directory, which lead nowhere for it, and
    /// anywhere for a program that opens them afterwards: open what it has left there with
    /// `O_NOFOLLOW`.
    pub fn write(mut self, path: impl AsRef<Path>) -> Sandbox {
        self.0.write.push(bytes(path));
        self
    }

    /// Grants starting other programs: this file, or the files beneath this directory. They have
    /// the same sandbox, and what they read must be granted too: a program that is linked
    /// dynamically takes `execute` of its loader and `read` of its libraries, which for a program
    /// of the system is `execute("/usr")`, as this grants reading too.
    ///
    /// A task may then also fork, map files as code, and use `/dev/null`; and it can read the
    /// **metadata of all files** (names, sizes, times), which programs ask for in ways that cannot
    /// be told apart. Contents are read where that is granted, and nowhere else.
    pub fn execute(mut self, path: impl AsRef<Path>) -> Sandbox {
        self.0.execute.push(bytes(path));
        self
    }

    /// Grants TCP connections to this port, of any machine. No names are looked up then, as that
    /// takes UDP: connect to addresses.
    pub fn connect(mut self, port: u16) -> Sandbox {
        self.0.connect.push(port);
        self
    }

    /// Grants listening on this TCP port, and accepting connections there.
    ///
    /// A hostile task can then also listen on a port that the kernel chooses: landlock(7) judges
    /// the port that a socket is bound to, and such a socket is bound to none.
    pub fn listen(mut self, port: u16) -> Sandbox {
        self.0.listen.push(port);
        self
    }

    /// Refuses to start a worker where an [`Effect`] cannot be had. The error says which, and why.
    ///
    /// *This is the default.*
    pub fn require(mut self) -> Sandbox {
        self.0.best_effort = false;
        self
    }

    /// Starts workers also where an [`Effect`] cannot be had, or in part only:
    /// [`report`](Self::report) tells. What is granted is granted in any case or the start is
    /// refused.
    ///
    /// *Default: [`require`](Self::require).*
    pub fn prefer(mut self) -> Sandbox {
        self.0.best_effort = true;
        self
    }

    /// What is refused ends the worker: [`Cause::Sandbox`](crate::Cause::Sandbox) says what it
    /// tried. Calls that libraries make to learn what a kernel can do get an error all the same.
    /// It finds tasks that stray. A hostile one can take it off, and is refused all the same.
    ///
    /// With paths granted, that is so for opening files and for what no grant allows; a directory
    /// that is made, or a file that is removed, outside the granted paths is an error.
    ///
    /// *Default: the task gets an error.*
    pub fn kill_on_violation(mut self) -> Sandbox {
        self.0.kill = true;
        self
    }

    /// The user and the group that workers become, where the program is root. In a program that is
    /// not root a worker is not started.
    ///
    /// *Default: 65534 and 65534, `nobody`, where the program is root and may become another user;
    /// otherwise the program's.*
    pub fn user(mut self, uid: u32, gid: u32) -> Sandbox {
        self.0.user = Some((uid, gid));
        self
    }

    /// By what each [`Effect`] is enforced here. It starts a worker with this sandbox, asks it, and
    /// ends it. Where none can be started, nothing is enforced, and the report says why.
    pub fn report(&self) -> Report {
        let asking = process::Builder::new().sandbox(self.clone().prefer());
        let asked = asking
            .spawn(|()| applied_in_this_worker(), ())
            .map_err(|e| e.to_string())
            .and_then(|worker| worker.join().map_err(|e| e.to_string()));
        match asked {
            Ok(Some(applied)) => Report::of_worker(&self.0, applied),
            Ok(None) => Report::nothing("the worker has no sandbox"),
            Err(why) => Report::nothing(&why),
        }
    }
}

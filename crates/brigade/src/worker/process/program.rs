//! Another program, whose tasks are called by name.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;

use super::Builder;
use super::host::program::NamedProgram;
use super::lookup_error::LookupError;
use crate::Message;
use crate::task::name::TaskName;
use crate::worker::handle::{HandleInner, JoinHandle};

/// Another program, whose workers this one can have.
///
/// It is a program with Brigade in it that [exports](crate::export!) tasks by name. It may be
/// another build than this program, as in a rolling upgrade; and this program need not be one of
/// Rust's at all: a shared library that it has loaded (a plugin, a language's extension module) can
/// have workers in this way, where [`process::spawn`](crate::process::spawn) is refused. Neither
/// has to call [`init`](crate::init) for it.
///
/// The program is started once, as a fork server, when the first task of it is looked up or
/// started; its `main` does not run. It has this program's environment, its directory and its
/// privileges, and none of its arguments. It ends when the last handle, builder and pool that name
/// it are dropped, or with this program. A file that is removed, or replaced by another, is the
/// same program until it is opened again; one that was written to is refused when it would be
/// started.
///
/// Programs are executed only where their file says, in an ELF note, that they have Brigade in
/// them, and of which version of the protocol: whatever else a path names is refused, unexecuted.
///
/// # Examples
/// The worker program:
/// ```no_run,standalone_crate
/// fn add((a, b): (u64, u64)) -> u64 {
///     a + b
/// }
/// brigade::export!("add", add);
///
/// fn main() {
///     brigade::init();
/// }
/// ```
///
/// Its host, here the same program:
/// ```standalone_crate
/// use brigade::{Kind, Pool, process};
///
/// # fn add((a, b): (u64, u64)) -> u64 {
/// #     a + b
/// # }
/// # brigade::export!("add", add);
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::current_exe()?;
/// let program = process::Program::open(path)?;
/// let add = program.task::<(u64, u64), u64>("add")?; // there is one, and of these types
/// assert_eq!(program.spawn(&add, (1, 2))?.join()?, 3);
///
/// let pool = Pool::builder(Kind::Process).workers(2).process(program.builder()).build()?;
/// assert_eq!(pool.submit_named(&add, (3, 4)).join()?, 7);
/// let sums = pool.map_named(&add, (0..10).map(|n| (n, n)));
/// assert_eq!(sums.collect::<Result<Vec<_>, _>>()?[9], 18);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "Command")]
#[derive(Clone)]
pub struct Program(pub(crate) Arc<NamedProgram>);

impl Program {
    /// The program in this file. It is not started yet.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read; it is no program (a directory, a script);
    /// Brigade is no part of it; or it has a version in it that speaks another protocol than this
    /// program's. On systems without processes: always.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Program> {
        NamedProgram::open(path.as_ref()).map(Program)
    }

    /// Where it was opened: an absolute path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The task that it exports by this name.
    ///
    /// The types are compared: not by their names, but by what `Deserialize` asks for: the names of
    /// structs, of their fields and of variants, in order, and the types of all of them. Two builds
    /// agree where these do, wherever the types are defined. What a reader that takes anything
    /// (`untagged`, internally tagged and flattened types) would take is not seen: of such types
    /// the path of the Rust type and its size are compared as well, so that both programs should
    /// have them from one crate. What no comparison sees: fields with serde's attribute `skip`, and
    /// what the numbers mean.
    ///
    /// The first look-up starts the program and has one of its workers list what it exports.
    ///
    /// # Errors
    /// It has no task of this name, or one of other types, of which both are said; or no worker of
    /// it could be asked.
    pub fn task<A: Message, R: Message>(&self, name: &str) -> Result<NamedTask<A, R>, LookupError> {
        let plan = self.0.find::<A, R>(name)?;
        Ok(NamedTask {
            program: Arc::clone(&self.0),
            name: name.into(),
            plan,
            types: PhantomData,
        })
    }

    /// The names of all tasks that it exports.
    ///
    /// # Errors
    /// No worker of it could be asked.
    pub fn tasks(&self) -> io::Result<Vec<String>> {
        self.0.names()
    }

    /// Configures workers of it.
    pub fn builder(&self) -> Builder {
        Builder {
            program: Some(Ok(self.clone())),
            ..Builder::default()
        }
    }

    /// Starts a task of it in a process of its own.
    ///
    /// # Errors
    /// As [`Builder::spawn_named`].
    #[track_caller]
    pub fn spawn<A: Message, R: Message>(
        &self,
        task: &NamedTask<A, R>,
        input: A,
    ) -> io::Result<JoinHandle<R>> {
        self.builder().spawn_named(task, input)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Program").field(&self.path()).finish()
    }
}

/// A task of another [`Program`], found by its name, of these types.
pub struct NamedTask<A, R> {
    pub(crate) program: Arc<NamedProgram>,
    name: Arc<str>,
    pub(crate) plan: [u64; 2],
    types: PhantomData<fn(A) -> R>,
}

impl<A, R> NamedTask<A, R> {
    /// By which it is exported.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose it is.
    pub fn program(&self) -> Program {
        Program(Arc::clone(&self.program))
    }
}

impl<A, R> Clone for NamedTask<A, R> {
    fn clone(&self) -> NamedTask<A, R> {
        NamedTask {
            program: Arc::clone(&self.program),
            name: Arc::clone(&self.name),
            plan: self.plan,
            types: PhantomData,
        }
    }
}

impl<A, R> fmt::Debug for NamedTask<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedTask")
            .field("name", &self.name)
            .field("program", &self.program.path())
            .finish()
    }
}

impl Builder {
    /// Makes them workers of another program, which is opened here: see [`Program`]. Tasks are
    /// those that it exports, by [`spawn_named`](Self::spawn_named), and
    /// [`Pool::submit_named`](crate::Pool::submit_named) of a pool that has this builder.
    ///
    /// *Default: workers of this program.*
    ///
    /// # Errors
    /// A file that is no such program is an error of [`spawn_named`](Self::spawn_named), or of
    /// [`build`](crate::PoolBuilder::build).
    pub fn program(mut self, path: impl AsRef<Path>) -> Builder {
        self.program = Some(Program::open(path).map_err(Arc::new));
        self
    }

    /// The task that the builder's [`program`](Self::program) exports by this name:
    /// [`Program::task`].
    ///
    /// # Errors
    /// As there; and the builder names no program.
    pub fn task<A: Message, R: Message>(&self, name: &str) -> Result<NamedTask<A, R>, LookupError> {
        match self.named_program()? {
            Some(program) => program.task(name),
            None => Err(invalid("no program was named whose task it is").into()),
        }
    }

    /// Starts a task of another program in a process of its own, as [`spawn`](Self::spawn) does
    /// with a function of this one. The worker is one of the task's program, whether or not the
    /// builder [names](Self::program) it.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn); the builder names another program; the program's file was written
    /// to since it was opened.
    #[track_caller]
    pub fn spawn_named<A: Message, R: Message>(
        &self,
        task: &NamedTask<A, R>,
        input: A,
    ) -> io::Result<JoinHandle<R>> {
        if let Some(program) = self.named_program()? {
            task.check_program(Some(&program.0))?;
        }
        let name = task.name_for(self.name.as_ref());
        let running = self.start_of_program(&task.program, task.plan, input, name)?;
        Ok(JoinHandle(HandleInner::Process(Box::new(running))))
    }

    /// The program whose workers they are; `None`: this one.
    pub(crate) fn named_program(&self) -> io::Result<Option<&Program>> {
        match &self.program {
            None => Ok(None),
            Some(Ok(program)) => Ok(Some(program)),
            Some(Err(why)) => Err(io::Error::new(why.kind(), Arc::clone(why))),
        }
    }

    /// Refuses functions of this program where workers are another's.
    pub(crate) fn check_own(&self, what: &str) -> io::Result<()> {
        match self.named_program()? {
            None => Ok(()),
            Some(program) => Err(invalid(format!(
                "{what} is a function of this program, and the workers are those of {}: export it there, and call it by its name",
                program.path().display()
            ))),
        }
    }
}

impl<A, R> NamedTask<A, R> {
    /// Refuses workers that are not the program's; `None`: this program's.
    pub(crate) fn check_program(&self, workers: Option<&Arc<NamedProgram>>) -> io::Result<()> {
        if workers.is_some_and(|program| Arc::ptr_eq(program, &self.program)) {
            return Ok(());
        }
        let theirs = workers.map_or_else(
            || "this program".to_owned(),
            |program| program.path().display().to_string(),
        );
        Err(invalid(format!(
            "task `{}` is one of the program {}, and the workers are those of {theirs}",
            self.name,
            self.program.path().display(),
        )))
    }

    /// What it is called in errors.
    #[track_caller]
    pub(crate) fn name_for(&self, worker: Option<&Arc<str>>) -> TaskName {
        TaskName::of_program(&self.name, self.program.path(), worker, Location::caller())
    }
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.into())
}

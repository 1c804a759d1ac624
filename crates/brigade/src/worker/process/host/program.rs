//! Another program whose workers this one has: its file, its fork servers, and what it offers.

use std::io;
use std::panic::Location;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::client::{ForkServer, Origin, Servers};
use super::one_shot::ProcessTask;
use crate::Message;
use crate::export::Offer;
use crate::process::{LookupError, NoSuchTask, OtherTypes};
use crate::sys::per_process::{OwnCell, PerProcess};
use crate::sys::program_file::ProgramFile;
use crate::task::name::TaskName;
use crate::task::outline;
use crate::worker::process::fork_server::bootstrap;
use crate::worker::process::inheritance::Inheritance;
use crate::worker::process::ipc::protocol::SPOKEN;

/// How long a program may take to list its tasks. Only one that hangs takes longer.
const LISTING: Duration = Duration::from_secs(30);

/// A program, for as long as a handle, a builder or a pool names it. Then its fork servers end,
/// with the last of their workers.
#[derive(Debug)]
pub(crate) struct NamedProgram {
    file: ProgramFile,
    /// A fork of this process begins without any.
    own: OwnCell<Own>,
}

#[derive(Debug, Default)]
struct Own {
    servers: Servers,
    offers: OnceLock<Vec<Offer>>,
}

/// Those that this process has, so that two that open one file share its fork servers.
static ALL: PerProcess<Mutex<Vec<Weak<NamedProgram>>>> = PerProcess::new(Mutex::default);

/// Those that there are now.
pub(super) fn all() -> impl Iterator<Item = Arc<NamedProgram>> {
    let known = ALL.get().lock().unwrap_or_else(PoisonError::into_inner);
    let all: Vec<_> = known.iter().filter_map(Weak::upgrade).collect();
    all.into_iter()
}

impl NamedProgram {
    /// The program at this path, which is not started yet.
    pub(crate) fn open(path: &Path) -> io::Result<Arc<NamedProgram>> {
        let file = ProgramFile::open(path)?;
        check_protocol(&file)?;
        // What is found to be the last handle is dropped when the lock is free.
        let mut found = None;
        let mut known = ALL.get().lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|program| program.strong_count() > 0);
        for program in known.iter().filter_map(Weak::upgrade) {
            if program.file.state() == file.state() {
                found = Some(program);
                break;
            }
        }
        let program = found.unwrap_or_else(|| {
            let program = Arc::new(NamedProgram {
                file,
                own: OwnCell::new(),
            });
            known.push(Arc::downgrade(&program));
            program
        });
        drop(known);
        Ok(program)
    }

    pub(crate) fn file(&self) -> &ProgramFile {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    fn own(&self) -> &Own {
        let made = self.own.get_or_try_init(|| Ok(Own::default()));
        made.unwrap_or_else(|never: std::convert::Infallible| match never {})
    }

    pub(in crate::worker::process) fn servers(&self) -> &Servers {
        &self.own().servers
    }

    /// Whether it may be started, and is what was opened.
    pub(super) fn check(&self) -> io::Result<()> {
        bootstrap::check_program(&self.file)?;
        if !self.file.is_unchanged()? {
            return Err(io::Error::other(
                "its file was written to since it was opened: open it again",
            ));
        }
        Ok(())
    }

    /// The tasks that it offers. A worker of it is asked, once.
    pub(crate) fn offers(self: &Arc<Self>) -> io::Result<&[Offer]> {
        let offers = &self.own().offers;
        if let Some(known) = offers.get() {
            return Ok(known);
        }
        let listed = self.list()?;
        Ok(offers.get_or_init(|| listed))
    }

    /// The names of the tasks that it offers.
    pub(crate) fn names(self: &Arc<Self>) -> io::Result<Vec<String>> {
        Ok(self.offers()?.iter().map(|o| o.name.clone()).collect())
    }

    /// The plan of the task of this name and these types.
    pub(crate) fn find<A: Message, R: Message>(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<[u64; 2], LookupError> {
        let offers = self.offers()?;
        let mut of_name = offers.iter().filter(|offer| offer.name == name);
        let Some(found) = of_name.next() else {
            return Err(LookupError::NoSuchTask(NoSuchTask {
                program: self.path().to_owned(),
                name: name.to_owned(),
                offered: self.names()?,
            }));
        };
        if of_name.any(|other| other != found) {
            let path = self.path().display();
            let why = format!("the program {path} exports two tasks by the name `{name}`");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why).into());
        }
        let (input, result) = (outline::of::<A>(), outline::of::<R>());
        if (&found.input, &found.result) != (&input, &result) {
            return Err(LookupError::OtherTypes(OtherTypes {
                program: self.path().to_owned(),
                name: name.to_owned(),
                ours: format!("fn({input}) -> {result}"),
                theirs: format!("fn({}) -> {}", found.input, found.result),
            }));
        }
        Ok(found.plan)
    }

    /// What the task with this plan is called there.
    pub(crate) fn name_of(&self, plan: [u64; 2]) -> Option<&str> {
        let mut offers = self.own().offers.get()?.iter();
        let offer = offers.find(|offer| offer.plan == plan)?;
        Some(&offer.name)
    }

    fn list(self: &Arc<Self>) -> io::Result<Vec<Offer>> {
        let of = Origin {
            program: Some(self),
            inheritance: Inheritance::Environment,
        };
        let server = ForkServer::get(of)?;
        let plan = server.catalogue.ok_or(io::ErrorKind::Unsupported)?;
        drop(server);
        let here = Location::caller();
        let name = TaskName::of_program("the list of tasks", self.path(), None, here);
        let none = Duration::ZERO;
        let mut task = ProcessTask::<Vec<Offer>>::start_plan(of, plan, (), None, name, none)?;
        match task.wait(Instant::now().checked_add(LISTING)) {
            Some(listed) => listed.map_err(io::Error::other),
            None => {
                task.cancel();
                let path = self.path().display();
                let why = format!("the program {path} did not list its tasks within 30 seconds");
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            }
        }
    }
}

/// A program that speaks another version of the protocol is refused before it is started.
fn check_protocol(file: &ProgramFile) -> io::Result<()> {
    if file.protocol == SPOKEN {
        return Ok(());
    }
    let spoken = |version: &str, spoken: u32| {
        let has = if spoken >> 16 == 0 { "without" } else { "with" };
        format!(
            "Brigade {version}, {has} the feature `sandbox`, which speaks version {} of the protocol between a program and its workers",
            spoken & 0xffff
        )
    };
    let why = format!(
        "the program {} has {} in it, and this program {}: build both alike",
        file.path().display(),
        spoken(&file.version, file.protocol),
        spoken(env!("CARGO_PKG_VERSION"), SPOKEN),
    );
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

impl Drop for NamedProgram {
    fn drop(&mut self) {
        for server in self.servers() {
            let server = server.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(server) = server {
                server.replace();
            }
        }
    }
}

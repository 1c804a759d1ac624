//! Another program whose workers this one has: its file, and its fork servers.

mod offers;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use super::client::Servers;
use crate::export::Offer;
use crate::sys::per_process::{OwnCell, PerProcess};
use crate::sys::program_file::ProgramFile;
use crate::worker::process::fork_server::start;
use crate::worker::process::ipc::protocol::SPOKEN;

/// A program, for as long as a handle, a builder or a pool names it. Then its fork servers end,
/// with the last of their workers.
#[derive(Debug)]
pub(crate) struct NamedProgram {
    file: ProgramFile,
    /// A fork of this process begins without any.
    own: OwnCell<OwnServers>,
}

#[derive(Debug, Default)]
struct OwnServers {
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

    fn own(&self) -> &OwnServers {
        let made = self.own.get_or_try_init(|| Ok(OwnServers::default()));
        made.unwrap_or_else(|never: std::convert::Infallible| match never {})
    }

    pub(in crate::worker::process) fn servers(&self) -> &Servers {
        &self.own().servers
    }

    /// Whether it may be started, and is what was opened.
    pub(super) fn check(&self) -> io::Result<()> {
        start::check_program(&self.file)?;
        if !self.file.is_unchanged()? {
            return Err(io::Error::other(
                "its file was written to since it was opened: open it again",
            ));
        }
        Ok(())
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

//! The fork server of this program and its spare workers, as the kernel sees them.

use std::io;

use brigade::process;
use brigade_test_support::{procfs, wait};

/// A fork server at work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crew {
    server: u32,
    /// How many spares there are when all are there.
    pub(crate) spares: usize,
}

impl Crew {
    /// Starts it, if need be, and learns how many spares it keeps.
    pub(crate) fn muster() -> io::Result<Crew> {
        let parent = process::spawn(|()| std::os::unix::process::parent_id(), ())?;
        let mut crew = Crew {
            server: parent.join().map_err(io::Error::other)?,
            spares: 0,
        };
        // The spares go down as tasks take them and up again when they are refilled.
        for _ in 0..16 {
            process::spawn(|()| (), ())?
                .join()
                .map_err(io::Error::other)?;
            let now = wait::until_found("workers to come and go", || crew.at_rest())?;
            crew.spares = crew.spares.max(now.len());
        }
        Ok(crew)
    }

    /// The workers, if all of them are spares of which this program knows, and asleep.
    fn at_rest(&self) -> io::Result<Option<Vec<u32>>> {
        let workers = procfs::children(self.server)?;
        if workers.len() != procfs::mappings(std::process::id(), "brigade-mailbox")? {
            return Ok(None);
        }
        // One that has ended meanwhile is no spare.
        let asleep = workers
            .iter()
            .all(|&worker| procfs::state(worker).is_ok_and(|state| state == 'S'));
        Ok(asleep.then_some(workers))
    }

    /// Waits until all spares are there. Some task must have taken so many that they are refilled.
    pub(crate) fn await_spares(&self) -> io::Result<Vec<u32>> {
        wait::until_found("all spare workers", || {
            Ok(self
                .at_rest()?
                .filter(|workers| workers.len() >= self.spares))
        })
    }
}

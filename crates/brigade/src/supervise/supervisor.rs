//! What a supervisor is made with, and its start.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::child::{Child, Launcher};
use super::events::{Events, Readers, Teller};
use super::exit::StartError;
use super::handle::{Core, Handle, Running};
use super::inbox::Address;
use super::machine::{Machine, Spec, SupervisorRules};
use super::runner::Runner;
use super::{AutoShutdown, Strategy};
use crate::sys::error::{Call, THREAD};

/// How a supervisor is called, if nothing is said.
const NAME: &str = "supervisor";

/// Keeps children running: [the module](super) tells how.
///
/// It is a value that says how; [`start`](Supervisor::start) makes it run. A clone has clones of
/// its children.
#[derive(Clone)]
#[must_use = "a supervisor does nothing until it is started"]
pub struct Supervisor {
    name: Option<String>,
    rules: SupervisorRules,
    children: Vec<Child>,
    /// Of all its runs.
    readers: Arc<Readers>,
}

impl Supervisor {
    /// A supervisor without children. `strategy`: which others are restarted with a child.
    pub fn new(strategy: Strategy) -> Supervisor {
        Supervisor {
            name: None,
            rules: SupervisorRules {
                strategy,
                intensity: 1,
                period: Duration::from_secs(5),
                auto_shutdown: AutoShutdown::Never,
                backoff: None,
                stop_together: false,
            },
            children: Vec::new(),
            readers: Arc::default(),
        }
    }

    /// What events call it. One that is a child is called as that child is.
    ///
    /// *Default: `supervisor`.*
    pub fn name(mut self, name: impl Into<String>) -> Supervisor {
        self.name = Some(name.into());
        self
    }

    /// With more than `restarts` restarts within `period` it gives up: it stops its children, and
    /// ends as failed. The restart of a group counts as one; so does each start that fails.
    ///
    /// *Default: 1 within 5 s, as in OTP.*
    #[doc(alias = "max_restarts")]
    pub fn intensity(mut self, restarts: u32, period: Duration) -> Supervisor {
        self.rules.intensity = restarts;
        self.rules.period = period;
        self
    }

    /// Has restarts wait: the first one of a child for `first`, each further one twice as long, up
    /// to `most`; of that a part between a half and all, by chance, so that many children do not
    /// come back at one moment. It begins anew when the child was up for `most`.
    ///
    /// *Default: restarts do not wait, as in OTP.*
    pub fn backoff(mut self, first: Duration, most: Duration) -> Supervisor {
        self.rules.backoff = Some(Backoff { first, most });
        self
    }

    /// Whether it shuts itself down when [significant](Child::significant) children end.
    ///
    /// *Default: [`AutoShutdown::Never`].*
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Supervisor {
        self.rules.auto_shutdown = auto_shutdown;
        self
    }

    /// Stops children all at once, and not one after the other: each still has its own grace time.
    /// For many that do not depend on each other; OTP's `simple_one_for_one` does that.
    ///
    /// *Default: one after the other, the last one first.*
    pub fn stop_together(mut self, together: bool) -> Supervisor {
        self.rules.stop_together = together;
        self
    }

    /// Adds a child. Children are started in the order in which they are added.
    pub fn child(mut self, child: Child) -> Supervisor {
        self.children.push(child);
        self
    }

    /// What it tells, and what those below it tell, from its start on. Each call makes one more
    /// reader, which gets all that comes after the call.
    ///
    /// The same goes to subscribers of `tracing`, target `brigade::supervise`.
    pub fn events(&self) -> Events {
        self.readers.add()
    }

    /// Starts its children, each when the one before it is up, and returns when all are.
    ///
    /// # Errors
    /// A child has not started, or there were too many restarts before all were up at one time:
    /// those that had started are stopped, and a [`StartError`] inside tells of it. Two children
    /// have one name, or what a child asks for contradicts its supervisor
    /// ([`io::ErrorKind::InvalidInput`]). The operating system could not make a thread.
    pub fn start(self) -> io::Result<Running> {
        let name = self.name.clone().unwrap_or_else(|| NAME.to_owned());
        let running = Running::new(self.launch(&name, None)?);
        match running.wait_until_up() {
            Ok(()) => Ok(running),
            Err(report) => Err(io::Error::other(StartError(report))),
        }
    }

    /// Starts the supervisor, and does not wait until its children are up.
    pub(super) fn launch(
        self,
        name: &str,
        parent: Option<(&Teller, Address)>,
    ) -> io::Result<Handle> {
        self.check()?;
        let (above, parent) = parent.unzip();
        let core = Arc::new(Core::new());
        let teller = Teller::new(name, [&core.readers, &self.readers], above);
        let children: Vec<Spec<Launcher>> = self.children.into_iter().map(|c| c.0).collect();
        let machine = Machine::new(self.rules, children, Instant::now());
        let runner = Runner::new(machine, teller, parent, Arc::clone(&core));
        std::thread::Builder::new()
            .name("brigade-super".to_owned())
            .spawn(|| runner.run())
            .call(THREAD)
            .needed_to("supervise")?;
        Ok(Handle::new(core))
    }

    fn check(&self) -> io::Result<()> {
        let invalid = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let mut names = HashSet::new();
        for child in &self.children {
            if let Err(why) = child.0.check(self.rules.auto_shutdown) {
                return invalid(why);
            }
            if !names.insert(child.name()) {
                return invalid(format!("two children are called `{}`", child.name()));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("name", &self.name)
            .field("strategy", &self.rules.strategy)
            .field("children", &self.children)
            .finish_non_exhaustive()
    }
}

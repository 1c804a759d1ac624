//! What another program offers: its tasks, by their names.

use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::NamedProgram;
use crate::Message;
use crate::export::Offer;
use crate::task::name::TaskName;
use crate::task::outline;
use crate::worker::process::Inheritance;
use crate::worker::process::host::client::{ForkServerClient, Origin};
use crate::worker::process::host::one_shot::ProcessTask;
use crate::worker::process::lookup_error::{LookupError, NoSuchTask, OtherTypes};

/// How long a program may take to list its tasks. Only one that hangs takes longer.
const LISTING: Duration = Duration::from_secs(30);

impl NamedProgram {
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
        let server = ForkServerClient::get(of)?;
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

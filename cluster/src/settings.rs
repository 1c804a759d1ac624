//! What an application of the cluster may have otherwise.

use std::time::Duration;

use crate::store::requests::Requests;
use crate::{Access, Error};

/// What submitters and workers of an application agree on.
///
/// The streams, buckets and consumers of an application are made by the first program that
/// connects, with its settings; those that are there are left as they are. So give all programs of
/// an application the same settings, or change the streams with the server's own tools.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use brigade_cluster::Settings;
///
/// let settings = Settings::default()
///     .max_tasks(10_000)
///     .ack_wait(Duration::from_secs(10));
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) replicas: usize,
    pub(crate) max_tasks: i64,
    pub(crate) ack_wait: Duration,
    pub(crate) task_lifetime: Duration,
    pub(crate) result_lifetime: Duration,
    pub(crate) attempts: u32,
    pub(crate) request_timeout: Duration,
    pub(crate) patience: Duration,
    pub(crate) access: Access,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            replicas: 1,
            max_tasks: 100_000,
            ack_wait: Duration::from_secs(30),
            task_lifetime: Duration::from_secs(7 * 24 * 3600),
            result_lifetime: Duration::from_secs(24 * 3600),
            attempts: 3,
            request_timeout: Duration::from_secs(5),
            patience: Duration::from_secs(60),
            access: Access::default(),
        }
    }
}

impl Settings {
    /// On how many servers each stream is kept: 1 to 5, odd. More than one needs as many servers.
    ///
    /// *Default: 1.*
    pub fn replicas(mut self, servers: usize) -> Settings {
        self.replicas = servers.clamp(1, 5);
        self
    }

    /// How many tasks may be queued or running at a time: then
    /// [`try_submit`](crate::Pool::try_submit) gives the input back, and
    /// [`submit`](crate::Pool::submit) waits. At least 1.
    ///
    /// *Default: 100,000.*
    pub fn max_tasks(mut self, tasks: u32) -> Settings {
        self.max_tasks = i64::from(tasks.max(1));
        self
    }

    /// After which time without a sign of life from its worker a task is given to another one.
    /// Workers give one three times as often. A worker program that has given none for so long is
    /// no longer seen in a [`Status`](crate::Status). At least 1 s.
    ///
    /// *Default: 30 s.*
    pub fn ack_wait(mut self, time: Duration) -> Settings {
        self.ack_wait = time.max(Duration::from_secs(1));
        self
    }

    /// How long a task is kept, with its input. One that has no end then ends with
    /// [`Undeliverable`](brigade::JoinError::Undeliverable), if its handle is awaited; one that
    /// runs is cancelled. At least 1 s.
    ///
    /// *Default: 7 days.*
    pub fn task_lifetime(mut self, time: Duration) -> Settings {
        self.task_lifetime = time.max(Duration::from_secs(1));
        self
    }

    /// How long a result is kept, from when it is there. At least 1 s.
    ///
    /// *Default: 1 day.*
    pub fn result_lifetime(mut self, time: Duration) -> Settings {
        self.result_lifetime = time.max(Duration::from_secs(1));
        self
    }

    /// How often a task is begun, at most, until it ends: it is begun again where its worker died,
    /// a process of it, the program or the machine. At least 1.
    ///
    /// *Default: 3.*
    pub fn attempts(mut self, times: u32) -> Settings {
        self.attempts = times.max(1);
        self
    }

    /// How long the servers may take to answer one request. At least 100 ms.
    ///
    /// *Default: 5 s.*
    pub fn request_timeout(mut self, time: Duration) -> Settings {
        self.request_timeout = time.max(Duration::from_millis(100));
        self
    }

    /// How long it is tried to hand a task over, or a result, while the servers do not answer. At
    /// most 100 s: longer than that the servers do not tell a second copy of a task from the first.
    ///
    /// *Default: 60 s.*
    pub fn patience(mut self, time: Duration) -> Settings {
        self.patience = time.min(Duration::from_secs(100));
        self
    }

    /// As whom this program connects: each may have its own.
    ///
    /// *Default: without credentials, or with those in the URL.*
    pub fn access(mut self, access: Access) -> Settings {
        self.access = access;
        self
    }

    pub(crate) fn requests(&self) -> Requests {
        Requests(self.request_timeout)
    }
}

/// Refuses what cannot be part of the names of streams and buckets.
pub(crate) fn check_name(app: &str) -> Result<(), Error> {
    let is_fine = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    if (1..=64).contains(&app.len()) && app.bytes().all(is_fine) {
        return Ok(());
    }
    Err(Error::Name(app.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for name in ["thumbs", "a", "A-b_9"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a.b", "a b", "a*", "ä", ">", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}

//! How a pool is configured, and connected.

use std::sync::{Arc, Mutex};

use super::job::Job;
use super::{Backend, Pool, Remote};
use crate::store::Store;
use crate::{Error, Settings};

/// Configures a [`Pool`].
#[derive(Debug)]
#[must_use = "it is a pool only when it is connected"]
pub struct PoolBuilder {
    url: String,
    app: String,
    settings: Settings,
    local: Option<brigade::Pool>,
    in_flight: usize,
    build: Option<String>,
}

impl PoolBuilder {
    pub(super) fn new(url: &str, app: &str) -> PoolBuilder {
        PoolBuilder {
            url: url.to_owned(),
            app: app.to_owned(),
            settings: Settings::default(),
            local: None,
            in_flight: 1000,
            build: None,
        }
    }

    /// What all programs of the application agree on.
    ///
    /// *Default: [`Settings::default`].*
    pub fn settings(mut self, settings: Settings) -> PoolBuilder {
        self.settings = settings;
        self
    }

    /// The pool that runs the tasks where the URL is `local:`. What kills its worker there is begun
    /// again as often as this pool's [`retries`](brigade::PoolBuilder::retries) say.
    ///
    /// *Default: processes, as many as the machine has processors.*
    pub fn local(mut self, pool: brigade::Pool) -> PoolBuilder {
        self.local = Some(pool);
        self
    }

    /// How many tasks of a map are submitted ahead of its results. At least 1; more than all
    /// workers have together keeps them busy.
    ///
    /// *Default: 1,000.*
    pub fn in_flight(mut self, tasks: usize) -> PoolBuilder {
        self.in_flight = tasks.max(1);
        self
    }

    /// Names the build of this program: only workers of a build of [this
    /// name](crate::Worker::build) run its tasks. 1 to 64 letters, digits, `-` and `_`.
    ///
    /// *Default: a hash of the names and types of the tasks that it exports. So builds that differ
    /// elsewhere share their workers.*
    pub fn build(mut self, name: &str) -> PoolBuilder {
        self.build = Some(name.to_owned());
        self
    }

    /// Connects, and makes the application's streams if there are none.
    ///
    /// # Errors
    /// The name of the application or the build is none; no server answers, or an old one; the
    /// streams could not be made; the local pool could not be started.
    pub async fn connect(self) -> Result<Pool, Error> {
        let build = crate::build::named(self.build)?;
        let backend = if self.url == "local:" {
            crate::settings::check_name(&self.app)?;
            let pool = match self.local {
                Some(pool) => pool,
                None => brigade::Pool::processes(
                    std::thread::available_parallelism().map_or(1, usize::from),
                )?,
            };
            Backend::Local(pool, self.in_flight)
        } else {
            let store = Store::open(&self.url, &self.app, self.settings).await?;
            Backend::Remote(Remote {
                job: Arc::new(Job::start(Arc::new(store), build)),
                in_flight: self.in_flight,
                types: Mutex::default(),
            })
        };
        Ok(Pool(Arc::new(backend)))
    }
}

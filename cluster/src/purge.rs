//! [`Purge`]: empties an application.

use async_nats::jetstream::stream::Stream;
use brigade::JoinError;
use brigade::exported::Failure;
use futures_util::StreamExt;

use crate::connect::connect;
use crate::store::{Store, layout};
use crate::wire::{End, Head, Record};
use crate::{Error, Settings};

/// How many tasks are ended at a time.
const AT_A_TIME: usize = 32;

/// Empties an application: what it has on the servers at that moment. Other applications are left
/// alone, and so is what comes later.
///
/// All tasks that have not ended end with [`Cancelled`](JoinError::Cancelled), also those that
/// other programs have submitted: those that wait never run, and those that run are cancelled at
/// their next sign of life, a third of [`ack_wait`](Settings::ack_wait) away at most. Dead letters
/// are forgotten.
///
/// # Examples
/// ```no_run
/// # async fn purges() -> Result<(), brigade_cluster::Error> {
/// use brigade_cluster::Purge;
///
/// let purged = Purge::new("nats://localhost", "thumbs").run().await?;
/// println!("{} tasks were cancelled", purged.tasks);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is purged until it is run"]
pub struct Purge {
    url: String,
    app: String,
    settings: Settings,
    results: bool,
}

/// What was purged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purged {
    /// How many tasks had not ended.
    pub tasks: u64,
    /// How many dead letters there were.
    pub dead: u64,
    /// How many results were forgotten.
    pub results: u64,
}

impl Purge {
    /// Of this application, on these servers.
    pub fn new(url: &str, app: &str) -> Purge {
        Purge {
            url: url.to_owned(),
            app: app.to_owned(),
            settings: Settings::default(),
            results: false,
        }
    }

    /// What all programs of the application agree on, and how to connect.
    pub fn settings(mut self, settings: Settings) -> Purge {
        self.settings = settings;
        self
    }

    /// Results that are kept are forgotten, too, and large values.
    ///
    /// *Default: they are kept until their time is over.*
    pub fn results(mut self, too: bool) -> Purge {
        self.results = too;
        self
    }

    /// Does so.
    ///
    /// # Errors
    /// No server answers, or an old one; there is no such application; it may not be purged. Some
    /// of it may have been purged then.
    pub async fn run(self) -> Result<Purged, Error> {
        let app = &self.app;
        // To open what is not there would make it.
        let client = connect(&self.url, app, &self.settings).await?;
        let context = async_nats::jetstream::new(client);
        let requests = self.settings.requests();
        let stream = async |name: String| {
            let opening = context.get_stream(name);
            requests.run("look at what is to be purged", opening).await
        };
        let queue = stream(layout::tasks_stream(app)).await?;
        let dead = stream(layout::dead_stream(app)).await?;
        let attempts = stream(layout::bucket_stream(app, "attempts")).await?;
        let results = stream(layout::bucket_stream(app, "results")).await?;
        let objects = stream(layout::objects_stream(app)).await?;
        let store = Store::open(&self.url, app, self.settings.clone()).await?;

        let state = &queue.cached_info().state;
        let sequences = state.first_sequence.max(1)..=state.last_sequence;
        let ending = futures_util::stream::iter(sequences)
            .map(|sequence| end(&store, &queue, sequence))
            .buffer_unordered(AT_A_TIME);
        let mut ending = std::pin::pin!(ending);
        while let Some(ended) = ending.next().await {
            ended?;
        }
        let empty = async |stream: &Stream| {
            let end = stream.cached_info().state.last_sequence + 1;
            let purging = stream.purge().sequence(end);
            let purged = requests.run("purge", purging.into_future()).await?;
            Ok::<_, Error>(purged.purged)
        };
        let mut purged = Purged {
            tasks: empty(&queue).await?,
            dead: empty(&dead).await?,
            results: 0,
        };
        empty(&attempts).await?;
        if self.results {
            purged.results = empty(&results).await?;
            empty(&objects).await?;
        }
        Ok(purged)
    }
}

/// Ends the task of this message, if there is one, and deletes its large input.
async fn end(store: &Store, queue: &Stream, sequence: u64) -> Result<(), Error> {
    let Some(headers) = store.headers_of(queue, sequence).await? else {
        return Ok(());
    };
    // What is no task goes with the queue.
    let Some(head) = Head::from_headers(&headers) else {
        return Ok(());
    };
    let record = Record {
        name: head.name,
        types: head.types,
        run: store.unique(),
        attempts: 0,
        end: End::Failed(Failure::of(&JoinError::Cancelled)),
        is_dead: false,
    };
    store.create_result(&head.id, record.to_bytes()).await?;
    if let Some(object) = &head.object {
        store.delete_object(object).await?;
    }
    Ok(())
}

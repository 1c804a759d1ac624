//! One task, from its message to its acknowledgement: the steps of the README, by their numbers.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};
use brigade::JoinError;
use brigade::exported::{CODEC, Failure};
use bytes::Bytes;
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tracing::Instrument;

use super::{Known, Shared, give_back};
use crate::Error;
use crate::pool::{Pause, local};
use crate::store::Created;
use crate::wire::{End, Head, INLINE, Options, Record};

/// After which time a task is tried again that could not be begun or ended for want of a server.
const AGAIN: Duration = Duration::from_secs(1);

/// What became of a run.
enum Ran {
    /// Its record is the one that counts.
    Ended { is_dead: bool },
    /// Another record was there: that of another run, or of one who cancelled it.
    Lost,
    /// Its process died; it is to be begun again.
    Crashed,
}

/// Runs the task of a message.
pub(super) async fn run(shared: &Shared, message: Message) {
    let headers = message.headers.as_ref();
    let head = headers.and_then(Head::from_headers);
    let info = message.info().ok();
    let info = info.map(|info| (info.stream_sequence, info.published));
    let (Some(head), Some((sequence, submitted))) = (head, info) else {
        tracing::warn!("what is no task was taken out of the queue");
        let taking = message.ack_with(AckKind::Term);
        let _ = timeout(shared.store.settings.request_timeout, taking).await;
        return;
    };
    let task = Task {
        shared,
        attempts: format!("{}.{sequence}", head.id),
        run: shared.store.unique(),
        submitted,
        head,
        body: message.payload.clone(),
        is_ending: AtomicBool::new(false),
    };
    let ran = with_signs_of_life(&task, &message).await;
    let counts = &shared.counts;
    let count = |count: &AtomicU64| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    match ran {
        Ok(Ran::Ended { is_dead }) => {
            count(&counts.ended);
            if is_dead {
                count(&counts.dead);
            }
            task.clean(&message).await;
        }
        Ok(Ran::Lost) => {
            count(&counts.lost);
            tracing::warn!(
                task = task.head.id,
                name = task.head.name,
                "the run was for nothing: the task has ended elsewhere, or was cancelled"
            );
            task.clean(&message).await;
        }
        Ok(Ran::Crashed) => {
            count(&counts.given_back);
            give_back(shared, &message, None).await;
        }
        Err(e) => {
            count(&counts.given_back);
            tracing::warn!(task = task.head.id, "given back: {e}");
            shared.store.make_what_is_gone(&e).await;
            give_back(shared, &message, Some(AGAIN)).await;
        }
    }
}

/// Runs the task, and tells the server meanwhile that it lives. Ends the run if the task has
/// another end.
async fn with_signs_of_life(task: &Task<'_>, message: &Message) -> Result<Ran, Error> {
    let shared = task.shared;
    let every = shared.ack_wait / 3;
    let mut tick = interval_at(Instant::now() + every, every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Dropping it cancels the local task.
    let options = &task.head.options;
    let span = tracing::info_span!(
        "task",
        id = task.head.id,
        name = task.head.name,
        traceparent = options.trace[0],
        tracestate = options.trace[1],
    );
    let mut running = Box::pin(task.run().instrument(span));
    loop {
        tokio::select! {
            biased;
            ran = &mut running => return ran,
            _ = tick.tick() => {}
        }
        let telling = message.ack_with(AckKind::Progress);
        let _ = timeout(shared.store.settings.request_timeout, telling).await;
        let is_ending = task.is_ending.load(Ordering::Relaxed);
        if !is_ending && has_ended(shared, &task.head.id).await {
            return Ok(Ran::Lost);
        }
    }
}

/// Whether the task has an end. A server that does not answer does not say so.
async fn has_ended(shared: &Shared, id: &str) -> bool {
    matches!(shared.store.result(id).await, Ok(Some(_)))
}

/// What a task has until its deadline.
enum Time {
    /// How much had passed when it was asked for, and when it is over. `None`: it has no deadline,
    /// or one that is never reached.
    Left(Option<(Duration, Instant)>),
    /// It was so long.
    Over(Duration),
}

/// One run of a task.
struct Task<'s> {
    shared: &'s Shared,
    head: Head,
    body: Bytes,
    /// The key under which its attempts are counted: those of its message. A copy of the message
    /// has attempts of its own.
    attempts: String,
    /// The name of this run.
    run: String,
    /// When the server took the message in, by its own clock.
    submitted: OffsetDateTime,
    /// The local task has ended: what may be in the bucket of results is this run's.
    is_ending: AtomicBool,
}

impl Task<'_> {
    async fn run(&self) -> Result<Ran, Error> {
        let store = &self.shared.store;
        // Step 6.
        if let Some(there) = store.result(&self.head.id).await? {
            // The one who wrote it may have died before the rest.
            let record = Record::from_bytes(&there).ok();
            if let Some(record) = record.filter(|record| record.is_dead) {
                self.keep_dead(&record).await?;
            }
            return Ok(Ran::Lost);
        }
        // Step 7.
        let begin = store.change_attempts(&self.attempts, |attempts| {
            attempts.begun = attempts.begun.saturating_add(1);
        });
        let attempts = begin.await?;
        let limit = store.settings.attempts;
        if attempts.begun > limit {
            let last = attempts.last.unwrap_or_else(Failure::lost);
            return self.end(End::Failed(last), limit, true).await;
        }
        let begun = attempts.begun;
        let time = match self.time().await? {
            Time::Over(deadline) => {
                let end = End::Failed(Failure::deadline(deadline, begun > 1));
                return self.end(end, begun, false).await;
            }
            Time::Left(time) => time,
        };
        // Step 8.
        let known = match self.known() {
            Ok(known) => known,
            Err(why) => {
                let ran = self.end(undeliverable(why), begun, false).await?;
                if matches!(ran, Ran::Ended { .. }) {
                    self.shared.counts.refused.fetch_add(1, Ordering::Relaxed);
                }
                return Ok(ran);
            }
        };
        let Some(input) = self.input().await? else {
            let why = "its input is no longer kept".to_owned();
            return self.end(undeliverable(why), begun, false).await;
        };
        // Step 9.
        let options = Options {
            deadline: time.map(|(_, at)| at.saturating_duration_since(Instant::now())),
            ..self.head.options.clone()
        };
        let passed = time.map_or(Duration::ZERO, |(passed, _)| passed);
        let input = (begun, input);
        let handle = local::submit(&self.shared.pool, known.encoded, input, &options).await;
        let ended = handle.cancel_on_drop().await;
        self.is_ending.store(true, Ordering::Relaxed);
        match ended {
            Ok(Ok(result)) if result.len() > INLINE => {
                // One of this run alone: another run may write its own.
                let object = format!("result.{}.{}", self.head.id, self.run);
                self.insist(|| store.put_object(&object, &result)).await?;
                let ran = self.end(End::Object(object.clone()), begun, false).await;
                if matches!(ran, Ok(Ran::Lost)) {
                    let _ = store.delete_object(&object).await;
                }
                ran
            }
            Ok(Ok(result)) => self.end(End::Returned(result), begun, false).await,
            Ok(Err(why)) => self.end(undeliverable(why), begun, false).await,
            Err(error @ JoinError::Crashed(_)) => {
                // Names of a backtrace are looked up here.
                let failure = Failure::of(&error);
                let note = || {
                    store.change_attempts(&self.attempts, |attempts| {
                        attempts.last = Some(failure.clone());
                    })
                };
                let attempts = self.insist(note).await?;
                if attempts.begun < limit {
                    tracing::warn!(task = self.head.id, name = self.head.name, "{error}");
                    return Ok(Ran::Crashed);
                }
                self.end(End::Failed(failure), attempts.begun, true).await
            }
            // The pool of this worker was shut down: it never began.
            Err(JoinError::Closed) => Ok(Ran::Crashed),
            Err(error) => {
                let failure = Failure::of(&error).submitted_earlier(passed);
                self.end(End::Failed(failure), begun, false).await
            }
        }
    }

    /// What is left of the time until its deadline. It is asked for by the servers' clock, on which
    /// the message was taken in: that of this machine may be wrong.
    async fn time(&self) -> Result<Time, Error> {
        let Some(deadline) = self.head.options.deadline else {
            return Ok(Time::Left(None));
        };
        let now = self.shared.store.now().await?;
        // A server's clock that was set back since: no time has passed.
        let passed = Duration::try_from(now - self.submitted).unwrap_or_default();
        let Some(left) = deadline.checked_sub(passed).filter(|left| !left.is_zero()) else {
            return Ok(Time::Over(deadline));
        };
        let at = Instant::now().checked_add(left);
        Ok(Time::Left(at.map(|at| (passed, at))))
    }

    /// The task of this program that it is.
    fn known(&self) -> Result<&Known, String> {
        let (head, tasks) = (&self.head, &self.shared.tasks);
        if head.codec != CODEC {
            return Err(format!(
                "its input is of version {} of the encoding, and this worker's is {CODEC}",
                head.codec
            ));
        }
        let Some(known) = tasks.get(head.name.as_str()) else {
            let mut names: Vec<_> = tasks.keys().copied().collect();
            names.sort_unstable();
            return Err(format!(
                "the worker has no task `{}`: it has `{}`",
                head.name,
                names.join("`, `")
            ));
        };
        if known.types != head.types {
            return Err(format!(
                "the worker's task `{}` is one of other types",
                head.name
            ));
        }
        Ok(known)
    }

    async fn input(&self) -> Result<Option<Vec<u8>>, Error> {
        match &self.head.object {
            None => Ok(Some(self.body.to_vec())),
            Some(object) => self.insist(|| self.shared.store.object(object)).await,
        }
    }

    /// Step 10: the first record is the task's end.
    async fn end(&self, end: End, attempts: u32, is_dead: bool) -> Result<Ran, Error> {
        self.is_ending.store(true, Ordering::Relaxed);
        let store = &self.shared.store;
        let id = &self.head.id;
        let record = Record {
            name: self.head.name.clone(),
            types: self.head.types.clone(),
            run: format!("{}.{}", self.shared.name, self.run),
            attempts,
            end,
            is_dead,
        };
        let value = record.to_bytes();
        let created = self
            .insist(|| store.create_result(id, value.clone()))
            .await?;
        if created == Created::WasThere {
            // It may be this run's own, whose answer was lost.
            let there = self.insist(|| store.result(id)).await?;
            let there = there.and_then(|there| Record::from_bytes(&there).ok());
            if there.is_none_or(|there| there.run != record.run) {
                return Ok(Ran::Lost);
            }
        }
        if is_dead {
            self.keep_dead(&record).await?;
        }
        Ok(Ran::Ended { is_dead })
    }

    /// Step 11: also of one that was written by a worker that died then. The server keeps one of a
    /// task.
    async fn keep_dead(&self, record: &Record) -> Result<(), Error> {
        let End::Failed(failure) = &record.end else {
            return Ok(());
        };
        let started = std::panic::Location::caller();
        let error = failure.clone().into_error(&record.name, started);
        let (stderr, backtrace) = match &error {
            JoinError::Crashed(crash) => (Some(crash.stderr()), crash.backtrace()),
            _ => (None, None),
        };
        let letter = json!({
            "task": self.head.id,
            "name": record.name,
            "attempts": record.attempts,
            "error": error.to_string(),
            "stderr": stderr,
            "backtrace": backtrace,
        });
        let letter = Bytes::from(letter.to_string());
        let keep = || {
            self.shared
                .store
                .publish_dead(&self.head.id, letter.clone())
        };
        self.insist(keep).await
    }

    /// Steps 12 and 13: what fails here is done by who gets the message again, or when its time is
    /// over.
    async fn clean(&self, message: &Message) {
        let store = &self.shared.store;
        if let Some(object) = &self.head.object {
            let _ = store.delete_object(object).await;
        }
        let acknowledging = message.double_ack();
        let limit = store.settings.request_timeout;
        if let Ok(Ok(())) = timeout(limit, acknowledging).await {
            let _ = store.forget_attempts(&self.attempts).await;
        }
    }

    /// Tries until the servers answer, or the patience is over.
    async fn insist<T, F>(&self, mut request: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let until = Instant::now() + self.shared.store.settings.patience;
        let mut pause = Pause::new();
        loop {
            match request().await {
                Err(e) if Instant::now() >= until => return Err(e),
                Err(e) => {
                    self.shared.store.make_what_is_gone(&e).await;
                    pause.wait().await;
                }
                done => return done,
            }
        }
    }
}

fn undeliverable(why: String) -> End {
    End::Failed(Failure::of(&JoinError::Undeliverable(why)))
}

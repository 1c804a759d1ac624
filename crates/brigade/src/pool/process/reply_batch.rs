//! Replies that are taken together.

use super::assignment::WorkerIndex;
use super::deferred::Ctx;
use super::dispatcher::Dispatcher;
use super::worker_slot::SlotStatus;
use crate::PoolStats;
use crate::sim::local::Instant;

/// Replies that were taken together.
#[derive(Default)]
pub(super) struct ReplyBatch {
    /// About how many bytes of the ring they took.
    pub(super) frame_bytes: usize,
    /// Of them, plain results: they are counted together.
    pub(super) tasks: u64,
    pub(super) result_bytes: u64,
    /// Of maps: how many results in a row are of tasks that were submitted together, and when that
    /// was.
    submitted: Option<Instant>,
    in_a_row: u64,
}

impl ReplyBatch {
    pub(super) fn count(
        &mut self,
        submitted: Instant,
        tasks: u32,
        bytes: usize,
        stats: &mut PoolStats,
        now: Instant,
    ) {
        if self.submitted != Some(submitted) {
            self.record_latencies(stats, now);
            self.submitted = Some(submitted);
            self.in_a_row = 0;
        }
        self.in_a_row += u64::from(tasks);
        self.tasks += u64::from(tasks);
        self.result_bytes += bytes as u64;
    }

    fn record_latencies(&self, stats: &mut PoolStats, now: Instant) {
        if let Some(submitted) = self.submitted {
            let time = now.saturating_duration_since(submitted);
            stats.latencies.record_many(time, self.in_a_row);
        }
    }
}

impl Dispatcher {
    /// Takes the replies of a worker that come next, if they are short results of its first tasks,
    /// which are of a map: with one copy. `false`: there are none, or others come first.
    pub(super) fn take_replies_of_map(
        &mut self,
        i: WorkerIndex,
        batch: &mut ReplyBatch,
        ctx: &mut Ctx<'_>,
    ) -> bool {
        let slot = &mut self.workers[i];
        let is_plain =
            slot.status == SlotStatus::Ready && slot.pending_reply.is_none() && !self.is_traced;
        let (Some(connection), Some(first)) = (&mut slot.connection, slot.assigned.first()) else {
            return false;
        };
        let (Some((map, index)), true) = (first.of_map(), is_plain) else {
            return false;
        };
        let (most, submitted) = (first.count(), first.submitted);
        let take = |into: &mut Vec<u8>| connection.take_returned(most, into);
        let (count, bytes) = self.maps.put_replies(map, index, ctx.deferred, take);
        if count == 0 {
            return false;
        }
        slot.assigned.drop_of_map(count);
        batch.frame_bytes += bytes + 16 * count as usize;
        batch.count(submitted, count, bytes, &mut self.stats, ctx.now);
        true
    }

    /// Counts the plain results that were taken together.
    pub(super) fn count_batch(&mut self, batch: &ReplyBatch, now: Instant) {
        self.workers.count_done(batch.tasks as usize);
        self.stats.done += batch.tasks;
        self.stats.bytes_out += batch.result_bytes;
        batch.record_latencies(&mut self.stats, now);
    }
}

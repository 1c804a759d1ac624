//! A pool's numbers as a text in the format of OpenMetrics, which Prometheus and others read.
//!
//! Names, units and suffixes are as <https://prometheus.io/docs/specs/om/open_metrics_spec/> asks:
//! base units, `_total` for what only goes up, one family of each name with all its lines together,
//! `# EOF` at the end.

use std::fmt::{self, Display, Write};

use super::policy::outcome::TaskOutcome;
use super::stats::PoolStats;

/// Upper bounds of the histogram's buckets, as powers of two of nanoseconds: from a microsecond to
/// eighteen minutes, each four times the one before.
const BOUNDS: std::ops::RangeInclusive<u32> = 10..=40;

/// The numbers of some pools, each with a name of its own, as one text in the format of
/// [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/): what a service answers to
/// `GET /metrics`, as `application/openmetrics-text; version=1.0.0; charset=utf-8`.
///
/// Each line has the label `pool`. What counts tasks, bytes and workers only goes up as long as the
/// pool lives. To put it on a page that has other metrics, leave out the last line, `# EOF`, of all
/// texts but the last.
///
/// | metric | type | labels besides |
/// |---|---|---|
/// | `brigade_pool_workers`, `brigade_pool_workers_stopped` | gauge | |
/// | `brigade_pool_tasks_queued`, `brigade_pool_tasks_running` | gauge | |
/// | `brigade_pool_tasks_submitted_total` | counter | |
/// | `brigade_pool_tasks_ended_total` | counter | `outcome`: `returned`, `panicked`, `crashed`, `timed out`, `cancelled`, `undeliverable`, `closed` |
/// | `brigade_pool_crashes_total` | counter | `cause`, as [`Cause`](crate::Cause) is displayed |
/// | `brigade_pool_retries_total` | counter | |
/// | `brigade_pool_workers_replaced_total` | counter | `reason`: `restarted`, `recycled`, `not ready` |
/// | `brigade_pool_busy_seconds_total` | counter | |
/// | `brigade_pool_input_bytes_total`, `brigade_pool_output_bytes_total` | counter | |
/// | `brigade_pool_task_seconds` | histogram, from a task's submission to its end | `le` |
///
/// # Examples
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// let thumbs = brigade::Pool::processes(2)?;
/// let mails = brigade::Pool::threads(1)?;
/// assert_eq!(thumbs.map(|n: u32| n, 0..5).count(), 5);
/// let text = brigade::open_metrics([("thumbs", thumbs.stats()), ("mails", mails.stats())]);
/// assert!(text.contains("brigade_pool_tasks_submitted_total{pool=\"thumbs\"} 5\n"));
/// assert!(text.contains("brigade_pool_workers{pool=\"mails\"} 1\n"));
/// assert!(text.ends_with("# EOF\n"));
/// # Ok(())
/// # }
/// ```
#[doc(alias = "prometheus")]
pub fn open_metrics<N: AsRef<str>>(pools: impl IntoIterator<Item = (N, PoolStats)>) -> String {
    let pools: Vec<_> = pools.into_iter().collect();
    let mut text = MetricsText {
        pools: &pools,
        text: String::new(),
    };
    text.write();
    text.text
}

struct MetricsText<'p, N> {
    pools: &'p [(N, PoolStats)],
    text: String,
}

/// Lines of one pool: what stands behind the name, a label and its value, and the number.
type MetricLines = Vec<(&'static str, Option<(&'static str, String)>, f64)>;

fn plain(number: u64) -> MetricLines {
    vec![("", None, number as f64)]
}

fn total(number: u64) -> MetricLines {
    vec![("_total", None, number as f64)]
}

fn labelled(label: &'static str, each: impl IntoIterator<Item = (String, u64)>) -> MetricLines {
    let line = |(value, number)| ("_total", Some((label, value)), number as f64);
    each.into_iter().map(line).collect()
}

fn ended(stats: &PoolStats) -> MetricLines {
    let crashed = stats.crashed.iter().map(|(_, n)| n).sum();
    let each = [
        (TaskOutcome::Returned, stats.done),
        (TaskOutcome::Panicked, stats.panicked),
        (TaskOutcome::Crashed, crashed),
        (TaskOutcome::TimedOut, stats.timed_out),
        (TaskOutcome::Cancelled, stats.cancelled),
        (TaskOutcome::Undeliverable, stats.undeliverable),
        (TaskOutcome::Closed, stats.closed),
    ];
    labelled(
        "outcome",
        each.map(|(outcome, n)| (outcome.label().to_owned(), n)),
    )
}

fn replaced(stats: &PoolStats) -> MetricLines {
    let each = [
        ("restarted", stats.restarts),
        ("recycled", stats.recycled),
        ("not ready", stats.not_ready),
    ];
    labelled("reason", each.map(|(reason, n)| (reason.to_owned(), n)))
}

fn crashes(stats: &PoolStats) -> MetricLines {
    let each = stats.crashed.iter();
    labelled("cause", each.map(|(cause, n)| (cause.to_string(), *n)))
}

fn task_seconds(stats: &PoolStats) -> MetricLines {
    let mut lines: MetricLines = BOUNDS
        .step_by(2)
        .map(|power| {
            let seconds = (1_u64 << power) as f64 / 1e9;
            let count = stats.latencies.count_below(power);
            ("_bucket", Some(("le", seconds.to_string())), count as f64)
        })
        .collect();
    let count = stats.latencies.count() as f64;
    // Without a sum, which is not counted, there is no `_count`.
    lines.push(("_bucket", Some(("le", "+Inf".to_owned())), count));
    lines
}

impl<N: AsRef<str>> MetricsText<'_, N> {
    fn write(&mut self) {
        self.write_tasks_and_workers();
        self.write_bytes_and_times();
        self.text.push_str("# EOF\n");
    }

    fn write_tasks_and_workers(&mut self) {
        for each in [
            family(
                "workers",
                "gauge",
                "",
                "Workers that the pool should have.",
                |s| plain(s.workers as u64),
            ),
            family(
                "workers_stopped",
                "gauge",
                "",
                "Workers that a signal has stopped.",
                |s| plain(s.stopped as u64),
            ),
            family(
                "tasks_queued",
                "gauge",
                "",
                "Tasks that have not begun.",
                |s| plain(s.queued),
            ),
            family("tasks_running", "gauge", "", "Tasks that run.", |s| {
                plain(s.running)
            }),
            family(
                "tasks_submitted",
                "counter",
                "",
                "Tasks that were accepted.",
                |s| total(s.submitted),
            ),
            family(
                "tasks_ended",
                "counter",
                "",
                "Tasks that have ended, by how.",
                ended,
            ),
            family(
                "crashes",
                "counter",
                "",
                "Tasks whose worker died, by cause.",
                crashes,
            ),
            family(
                "retries",
                "counter",
                "",
                "How often a task was run again.",
                |s| total(s.retried),
            ),
            family(
                "workers_replaced",
                "counter",
                "",
                "Workers that are gone, by why.",
                replaced,
            ),
            family(
                "busy_seconds",
                "counter",
                "seconds",
                "Time that workers had tasks.",
                |s| vec![("_total", None, s.busy.as_secs_f64())],
            ),
        ] {
            // Text has room for all.
            let _ = self.family(&each);
        }
    }

    fn write_bytes_and_times(&mut self) {
        for each in [
            family("input_bytes", "counter", "bytes", "Encoded inputs.", |s| {
                total(s.bytes_in)
            }),
            family(
                "output_bytes",
                "counter",
                "bytes",
                "Encoded results.",
                |s| total(s.bytes_out),
            ),
            family(
                "context_bytes",
                "counter",
                "bytes",
                "Encoded contexts, once for each worker.",
                |s| total(s.context_bytes),
            ),
            family(
                "task_seconds",
                "histogram",
                "seconds",
                "From a task's submission to its end.",
                task_seconds,
            ),
        ] {
            // Text has room for all.
            let _ = self.family(&each);
        }
    }

    fn family(&mut self, family: &Family) -> fmt::Result {
        let Family {
            name,
            sort,
            unit,
            help,
            lines,
        } = family;
        let text = &mut self.text;
        writeln!(text, "# TYPE brigade_pool_{name} {sort}")?;
        if !unit.is_empty() {
            writeln!(text, "# UNIT brigade_pool_{name} {unit}")?;
        }
        writeln!(text, "# HELP brigade_pool_{name} {help}")?;
        for (pool, stats) in self.pools {
            for (suffix, label, number) in lines(stats) {
                let pool = Escaped(pool.as_ref());
                write!(text, "brigade_pool_{name}{suffix}{{pool=\"{pool}\"")?;
                if let Some((label, value)) = label {
                    write!(text, ",{label}=\"{}\"", Escaped(&value))?;
                }
                writeln!(text, "}} {number}")?;
            }
        }
        Ok(())
    }
}

struct Family {
    name: &'static str,
    sort: &'static str,
    unit: &'static str,
    help: &'static str,
    lines: fn(&PoolStats) -> MetricLines,
}

fn family(
    name: &'static str,
    sort: &'static str,
    unit: &'static str,
    help: &'static str,
    lines: fn(&PoolStats) -> MetricLines,
) -> Family {
    Family {
        name,
        sort,
        unit,
        help,
        lines,
    }
}

/// A label's value.
struct Escaped<'t>(&'t str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Cause;

    fn stats() -> PoolStats {
        let mut stats = PoolStats {
            workers: 2,
            submitted: 10,
            done: 5,
            queued: 1,
            running: 1,
            crashed: vec![(Cause::Signal(11), 2), (Cause::Exit(3), 1)],
            busy: Duration::from_millis(1500),
            ..PoolStats::default()
        };
        for micros in [1, 10, 100, 1000, 10_000_000_000] {
            stats.latencies.record(Duration::from_micros(micros));
        }
        stats
    }

    #[test]
    fn each_number_has_its_line() {
        let text = open_metrics([("a", stats()), ("b", PoolStats::default())]);
        for line in [
            "# TYPE brigade_pool_tasks_ended counter",
            "# UNIT brigade_pool_busy_seconds seconds",
            "brigade_pool_workers{pool=\"a\"} 2",
            "brigade_pool_workers{pool=\"b\"} 0",
            "brigade_pool_tasks_submitted_total{pool=\"a\"} 10",
            "brigade_pool_tasks_ended_total{pool=\"a\",outcome=\"returned\"} 5",
            "brigade_pool_tasks_ended_total{pool=\"a\",outcome=\"crashed\"} 3",
            "brigade_pool_busy_seconds_total{pool=\"a\"} 1.5",
            "brigade_pool_task_seconds_bucket{pool=\"a\",le=\"+Inf\"} 5",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"));
        // Each family once, and all its lines together.
        let types: Vec<_> = text
            .lines()
            .filter_map(|l| l.strip_prefix("# TYPE "))
            .collect();
        assert_eq!(types.len(), 14);
    }

    #[test]
    fn buckets_count_up_to_all() {
        let text = open_metrics([("a", stats())]);
        let buckets = text.lines().filter(|line| line.contains("_bucket{"));
        let counts: Vec<u64> = buckets
            .map(|line| {
                line.rsplit(' ')
                    .next()
                    .and_then(|n| n.parse().ok())
                    .expect("a number")
            })
            .collect();
        assert!(
            counts.windows(2).all(|pair| pair[0] <= pair[1]),
            "{counts:?}"
        );
        assert_eq!(
            (
                counts[0],
                counts[counts.len() - 2],
                counts[counts.len() - 1]
            ),
            (1, 4, 5)
        );
    }

    #[test]
    fn names_are_escaped() {
        let text = open_metrics([("a\"b\\c\nd", PoolStats::default())]);
        assert!(
            text.contains("brigade_pool_workers{pool=\"a\\\"b\\\\c\\nd\"} 0\n"),
            "{text}"
        );
    }
}

//! What is written in messages and values: see the README.

use std::time::Duration;

use async_nats::HeaderMap;
use brigade::exported::{self, Exported, Failure};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Larger inputs and results are objects.
pub(crate) const INLINE: usize = 256 * 1024;

/// The server keeps one message of those with one of these, for a while.
const COPY: &str = "Nats-Msg-Id";
const ID: &str = "Brigade-Id";
const NAME: &str = "Brigade-Task";
const TYPES: &str = "Brigade-Types";
const CODEC: &str = "Brigade-Codec";
const OBJECT: &str = "Brigade-Object";
/// In milliseconds.
const TIMEOUT: &str = "Brigade-Timeout";
/// In milliseconds from when the server took the message in.
const DEADLINE: &str = "Brigade-Deadline";
/// Those of <https://www.w3.org/TR/trace-context/>.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

/// A task without its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The job's name and the task's number in it: `JOB.NUMBER`.
    pub(crate) id: String,
    pub(crate) name: String,
    /// Of what its types are made: [`types_of`].
    pub(crate) types: String,
    pub(crate) codec: u32,
    /// The input is the object of this name, not the body.
    pub(crate) object: Option<String>,
    pub(crate) options: Options,
}

/// What a task has otherwise than its pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// How long it may run.
    pub(crate) timeout: Option<Duration>,
    /// When it has to have ended, from when the server took it in.
    pub(crate) deadline: Option<Duration>,
    /// `traceparent` and `tracestate`.
    pub(crate) trace: [Option<String>; 2],
}

impl Head {
    pub(crate) fn to_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COPY, self.id.as_str());
        headers.insert(ID, self.id.as_str());
        headers.insert(NAME, self.name.as_str());
        headers.insert(TYPES, self.types.as_str());
        headers.insert(CODEC, self.codec.to_string().as_str());
        if let Some(object) = &self.object {
            headers.insert(OBJECT, object.as_str());
        }
        let options = &self.options;
        for (name, time) in [(TIMEOUT, options.timeout), (DEADLINE, options.deadline)] {
            if let Some(time) = time {
                headers.insert(name, milliseconds(time).to_string().as_str());
            }
        }
        for (name, value) in TRACE.iter().zip(&options.trace) {
            if let Some(value) = value {
                headers.insert(*name, value.as_str());
            }
        }
        headers
    }

    /// `None`: that is no task. Anybody may have written it.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Head> {
        let text = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        let time = |name: &str| match text(name) {
            None => Some(None),
            Some(value) => Some(Some(Duration::from_millis(value.parse().ok()?))),
        };
        let options = Options {
            timeout: time(TIMEOUT)?,
            deadline: time(DEADLINE)?,
            trace: TRACE.map(|name| text(name).filter(|value| is_trace(value))),
        };
        let head = Head {
            id: text(ID)?,
            name: text(NAME)?,
            types: text(TYPES)?,
            codec: text(CODEC)?.parse().ok()?,
            object: text(OBJECT),
            options,
        };
        number_of(&head.id)?;
        Some(head)
    }
}

/// Whether that can be the name of a job, and so part of keys and subjects.
pub(crate) fn is_job(job: &str) -> bool {
    (1..=64).contains(&job.len()) && job.bytes().all(|c| c.is_ascii_alphanumeric())
}

/// The number in a task's id. `None`: it is no id.
pub(crate) fn number_of(id: &str) -> Option<u64> {
    let (job, number) = id.split_once('.')?;
    let is_number = number.bytes().all(|c| c.is_ascii_digit());
    if is_job(job) && is_number {
        number.parse().ok()
    } else {
        None
    }
}

/// Whether headers can carry such a name.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=256).contains(&name.len()) && name.chars().all(|c| !c.is_control())
}

/// Whether headers can carry that as part of a trace context.
pub(crate) fn is_trace(value: &str) -> bool {
    let is_fine = |c: u8| c == b' ' || c.is_ascii_graphic();
    (1..=512).contains(&value.len()) && value.bytes().all(is_fine)
}

/// What is told of a task, in the words of a pool on one machine.
pub(crate) fn of_task(name: &str, why: &str) -> String {
    format!("task `{name}`: {why}")
}

/// Whole ones, and never less than that.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Of what the types of a task are made, as a hash.
pub(crate) fn types_of(task: Exported) -> Option<String> {
    let hash = Sha256::digest(task.types()?.as_bytes());
    Some(hash.iter().take(16).map(|b| format!("{b:02x}")).collect())
}

/// How a task ended, and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) types: String,
    /// Whose it is: one run of a task on one worker.
    pub(crate) run: String,
    pub(crate) attempts: u32,
    pub(crate) end: End,
    /// It is a dead letter, too.
    pub(crate) is_dead: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum End {
    Returned(Vec<u8>),
    /// The object of this name has the result.
    Object(String),
    Failed(Failure),
}

impl Record {
    pub(crate) fn to_bytes(&self) -> Bytes {
        let encoded = exported::encode(self).unwrap_or_default();
        if encoded.len() <= INLINE + 4096 {
            return encoded.into();
        }
        // Only an error can be so long: a panic's message.
        let why = format!(
            "its error of {} bytes is too long to be told",
            encoded.len()
        );
        let short = Record {
            end: End::Failed(Failure::of(&brigade::JoinError::Undeliverable(why))),
            ..self.clone()
        };
        exported::encode(&short).unwrap_or_default().into()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Record, String> {
        exported::decode(bytes).map_err(|e| e.to_string())
    }
}

/// How often a task was begun, and how that ended last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Attempts {
    pub(crate) begun: u32,
    pub(crate) last: Option<Failure>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            id: "Job9.17".to_owned(),
            name: "shout loudly".to_owned(),
            types: "00ff".to_owned(),
            codec: 1,
            object: None,
            options: Options::default(),
        }
    }

    #[test]
    fn heads_travel_as_headers() {
        let plain = head();
        assert_eq!(Head::from_headers(&plain.to_headers()), Some(plain));
        let large = Head {
            object: Some("input.Job9.17".to_owned()),
            ..head()
        };
        assert_eq!(Head::from_headers(&large.to_headers()), Some(large));
        let options = Options {
            timeout: Some(Duration::from_millis(1500)),
            deadline: Some(Duration::from_secs(9)),
            trace: [Some("00-0af7-b7ad-01".to_owned()), Some("a=b".to_owned())],
        };
        let timed = Head { options, ..head() };
        assert_eq!(Head::from_headers(&timed.to_headers()), Some(timed));
    }

    #[test]
    fn what_is_no_task_is_refused() {
        for missing in [ID, NAME, TYPES, CODEC] {
            let mut headers = HeaderMap::new();
            for (name, values) in head().to_headers().iter() {
                if name.to_string() != missing {
                    headers.insert(name.clone(), values[0].clone());
                }
            }
            assert_eq!(Head::from_headers(&headers), None, "without {missing}");
        }
        for id in [
            "", "Job9", "Job9.", "Job9.x", ".1", "Job9.*", "J b.1", "a.b.1", "J>.1",
        ] {
            let mut headers = head().to_headers();
            headers.insert(ID, id);
            assert_eq!(Head::from_headers(&headers), None, "{id}");
        }
    }

    #[test]
    fn times_that_are_none_are_refused() {
        for value in ["", "-1", "1.5", "soon", "99999999999999999999"] {
            for name in [TIMEOUT, DEADLINE] {
                let mut headers = head().to_headers();
                headers.insert(name, value);
                assert_eq!(Head::from_headers(&headers), None, "{name}: {value}");
            }
        }
        assert_eq!(milliseconds(Duration::from_micros(1)), 1);
        assert_eq!(milliseconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn an_error_that_is_too_long_is_told_shortly() {
        let why = "x".repeat(INLINE * 2);
        let record = Record {
            name: "n".to_owned(),
            types: "t".to_owned(),
            run: "r".to_owned(),
            attempts: 1,
            end: End::Failed(Failure::of(&brigade::JoinError::Undeliverable(why))),
            is_dead: false,
        };
        let bytes = record.to_bytes();
        assert!(bytes.len() < 4096);
        let read = Record::from_bytes(&bytes).expect("it is a record");
        let End::Failed(failure) = read.end else {
            panic!("{read:?}");
        };
        let error = failure.into_error("n", std::panic::Location::caller());
        assert!(error.to_string().contains("too long"), "{error}");
    }
}

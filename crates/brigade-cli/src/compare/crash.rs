//! Row 7: a worker crashes. What becomes of the program, and of the other workers?

use std::os::unix::process::ExitStatusExt as _;

use serde_json::json;

use super::row::{Figure, Measured, Value, Views};
use super::{Context, Experiment, verdict};
use crate::fail::Failure;
use crate::helper::{Event, Fault, OTHERS, launch};
use crate::signals;
use crate::workers::Place;

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "crash",
    title: "Crash",
    claim: "A thread that crashes takes the whole program with it. A process that crashes dies alone.",
    needs: &[],
    run,
};

/// What was seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// How the program ended; `None` if well.
    program: Option<(String, Option<i32>)>,
    /// The library's word on the worker, if the program lived to hear it: ending and cause.
    victim: Option<(String, Option<String>)>,
    /// How many of the others finished.
    others: usize,
}

impl Seen {
    /// Did only the one task suffer?
    fn is_contained(&self) -> bool {
        self.program.is_none()
            && self.others == OTHERS
            && self
                .victim
                .as_ref()
                .is_some_and(|(ending, _)| ending != "returned")
    }

    /// Is the program gone, and all workers with it?
    fn took_the_program(&self) -> bool {
        self.program.is_some() && self.others == 0
    }

    fn value(&self) -> Value {
        let text = match (&self.program, &self.victim) {
            (Some((end, _)), _) => format!(
                "program ended: {end}; {} of {OTHERS} others lost",
                OTHERS - self.others
            ),
            (None, Some((ending, cause))) => {
                let cause = cause
                    .as_ref()
                    .filter(|_| ending == "crashed")
                    .map(|cause| format!(": {cause}"));
                format!(
                    "{ending}{}; {} of {OTHERS} others went on",
                    cause.unwrap_or_default(),
                    self.others
                )
            }
            (None, None) => "the program said nothing".to_owned(),
        };
        let (ending, cause) = self
            .victim
            .clone()
            .map_or((None, None), |(ending, cause)| (Some(ending), cause));
        let data = json!({
            "contained": self.is_contained(),
            "program": match &self.program {
                None => "survived".to_owned(),
                Some((end, _)) => end.clone(),
            },
            "program_signal": self.program.as_ref().and_then(|(_, signal)| *signal),
            "ending": ending,
            "cause": cause,
            "others_finished": self.others,
            "others": OTHERS,
        });
        Value::Fact {
            text,
            data: Some(data),
        }
    }
}

fn sacrifice(place: Place, fault: Fault) -> Result<Seen, Failure> {
    let ended = launch::run(&[
        "sacrifice".to_owned(),
        place.name().to_owned(),
        fault.name().to_owned(),
    ])?;
    // A line that was cut off by the end is none.
    let events: Vec<Event> = ended
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    if !matches!(events.first(), Some(Event::Others { .. })) {
        let last = ended.stderr.lines().last().unwrap_or("it said nothing");
        return Err(Failure::new(format!(
            "the program failed before its worker did: {last}"
        )));
    }
    let program =
        (!ended.status.success()).then(|| (signals::ending(ended.status), ended.status.signal()));
    let mut seen = Seen {
        program,
        victim: None,
        others: 0,
    };
    for event in events {
        match event {
            Event::Others { .. } => {}
            Event::Victim { ending, cause, .. } => seen.victim = Some((ending, cause)),
            Event::Finished { others } => seen.others = others,
        }
    }
    Ok(seen)
}

/// Names for the figures: programs find them by these.
fn id(fault: Fault) -> &'static str {
    fault.name()
}

fn label(fault: Fault) -> &'static str {
    match fault {
        Fault::Segfault => "segmentation fault",
        Fault::Abort => "abort()",
        Fault::StackOverflow => "stack overflow",
        Fault::Exit => "exit(3) in the task",
        Fault::OutOfMemory => "out of memory",
        Fault::Panic => "panic",
    }
}

fn run(_: &Context<'_>) -> Result<Measured, Failure> {
    let mut figures = Vec::new();
    let mut seen = Tally::default();
    for fault in Fault::ALL {
        let all = Place::ALL.map(|place| sacrifice(place, fault));
        // A panic is no crash: Rust unwinds it, and the claim is not about it.
        if fault != Fault::Panic {
            seen.count(&all);
        }
        let [thread, process, sandbox] =
            all.map(|seen| seen.map_or_else(Value::Missing, |seen| seen.value()));
        let figure = Figure::facts(id(fault), label(fault), thread, process);
        figures.push(figure.in_sandbox(sandbox));
    }
    let expectations = [&seen.thread[..], &seen.process].concat();
    if expectations.is_empty() {
        return Err(Failure::new("no program with workers could be sacrificed"));
    }
    Ok(Measured {
        done: format!(
            "In a program made for it, one of three workers ends in each of these ways. Seen from outside: what became of the \
             program, what the library said of the worker, and whether the {OTHERS} others finished their task. The sandbox is \
             `Sandbox::deny_all()`, around the one that crashes."
        ),
        figures,
        views: Some(seen.views()),
        verdict: verdict::of_facts(&expectations, "the way it dies"),
        notes: vec![
            "A panic is no crash: Rust unwinds it, and both kinds report it. Out of memory is a limit of address space that \
             the task sets itself; a thread sets it for the whole program, and in the sandbox, where it may not, the program \
             sets it for the process."
                .to_owned(),
        ],
    })
}

/// For each crash that was tried, whether it went as the claim says: a thread took the program
/// along, a process did not.
#[derive(Debug, Default)]
struct Tally {
    thread: Vec<bool>,
    process: Vec<bool>,
    sandbox: Vec<bool>,
}

impl Tally {
    fn count(&mut self, [thread, process, sandbox]: &[Result<Seen, Failure>; 3]) {
        let seen = |of: &Result<Seen, Failure>, is: fn(&Seen) -> bool| of.as_ref().ok().map(is);
        self.thread.extend(seen(thread, Seen::took_the_program));
        self.process.extend(seen(process, Seen::is_contained));
        self.sandbox.extend(seen(sandbox, Seen::is_contained));
    }

    fn views(&self) -> Views {
        let of = |seen: &[bool]| {
            let yes = seen.iter().filter(|seen| **seen).count();
            format!("{yes} of {}", seen.len())
        };
        Views {
            thread: format!(
                "{} crashes ended the whole program, and with it the tasks of the other threads.",
                of(&self.thread)
            ),
            process: format!(
                "{} crashes ended that one process, {} in a sandbox; the program went on and had an error that says why.",
                of(&self.process),
                of(&self.sandbox)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(
        program: Option<(&str, Option<i32>)>,
        victim: Option<(&str, Option<&str>)>,
        others: usize,
    ) -> Seen {
        Seen {
            program: program.map(|(end, signal)| (end.to_owned(), signal)),
            victim: victim.map(|(ending, cause)| (ending.to_owned(), cause.map(str::to_owned))),
            others,
        }
    }

    fn parts(value: &Value) -> (&str, &serde_json::Value) {
        match value {
            Value::Fact {
                text,
                data: Some(data),
            } => (text, data),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_program_that_died_is_told_from_one_that_went_on() {
        let died = seen(Some(("SIGSEGV", Some(11))), None, 0);
        assert!(died.took_the_program() && !died.is_contained());
        let value = died.value();
        let (text, data) = parts(&value);
        assert_eq!(text, "program ended: SIGSEGV; 2 of 2 others lost");
        assert_eq!(data["program_signal"], 11);

        let contained = seen(None, Some(("crashed", Some("SIGSEGV"))), 2);
        assert!(contained.is_contained() && !contained.took_the_program());
        let value = contained.value();
        let (text, data) = parts(&value);
        assert_eq!(text, "crashed: SIGSEGV; 2 of 2 others went on");
        assert_eq!(data["cause"], "SIGSEGV");
    }

    #[test]
    fn a_fault_that_did_not_happen_is_not_contained() {
        assert!(!seen(None, Some(("returned", None)), 2).is_contained());
        assert!(!seen(None, Some(("crashed", Some("abort"))), 1).is_contained());
    }
}

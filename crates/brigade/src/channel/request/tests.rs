//! What a server that is no honest one does to its clients.

use std::time::Duration;

use super::*;

#[test]
fn answers_that_nobody_asked_for_make_no_room() {
    let (questions, asked) =
        channel::<NumberedQuestion<u32, u32>>(Transport::SharedMemory, 4).expect("a channel");
    let client = Client::new(questions);
    let answers = std::thread::scope(|scope| {
        let call = scope.spawn(|| client.call(1));
        let (which, answers, _) = asked.recv().expect("a question");
        let answers = answers.expect("the first brings them");
        // Three times.
        for answer in [10, 11, 12] {
            let number = Noted(RequestNumber(which.0.number));
            answers.send((number, Ok(answer))).expect("there is room");
        }
        assert_eq!(call.join().expect("no panic"), Ok(10));
        answers
    });
    let soon = Duration::from_millis(20);
    for n in 0..4 {
        let ended = client.call_timeout(n, soon);
        assert_eq!(ended, Err(CallError::Timeout(None)), "{n}");
        asked.recv().expect("it was sent");
    }
    // All four are still to be answered.
    assert_eq!(
        client.call_timeout(5, soon),
        Err(CallError::Timeout(Some(5)))
    );
    drop(answers);
}

/// A question whose encoding panics, if it says so.
#[derive(serde::Deserialize)]
struct Panics(bool);

impl serde::Serialize for Panics {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!self.0, "as asked");
        serializer.serialize_newtype_struct("Panics", &self.0)
    }
}

#[test]
fn a_question_whose_encoding_panics_makes_room_for_the_next() {
    let (questions, asked) =
        channel::<NumberedQuestion<Panics, u32>>(Transport::SharedMemory, 2).expect("a channel");
    let client = Client::new(questions);
    for _ in 0..3 {
        let call = || client.call_timeout(Panics(true), Duration::from_secs(30));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err());
    }
    let soon = Duration::from_millis(20);
    assert!(matches!(
        client.call_timeout(Panics(false), soon),
        Err(CallError::Timeout(None))
    ));
    asked.recv().expect("it was sent");
}

//! What a server that is no honest one does to its clients.

use std::time::Duration;

use super::*;

#[test]
fn answers_that_nobody_asked_for_make_no_room() {
    let (questions, asked) =
        channel::<Question<u32, u32>>(Transport::SharedMemory, 4).expect("a channel");
    let client = Client::new(questions);
    let answers = std::thread::scope(|scope| {
        let call = scope.spawn(|| client.call(1));
        let (which, answers, _) = asked.recv().expect("a question");
        let answers = answers.expect("the first brings them");
        // Three times.
        for answer in [10, 11, 12] {
            let number = Noted(Number(which.0.number));
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

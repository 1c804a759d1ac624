//! A host that is copied by fork(2), with parts of a region that it can write to: they are the
//! original's, and what the copy does with its copies of them is no loss to that.

use brigade::shm::Writable;
use brigade::{Shared, process};

use crate::copies::{Ended, copy, end_copy, wait_for_copy};

fn fill(mut part: Writable<[u8]>) -> Writable<[u8]> {
    part.fill(1);
    part
}

pub(crate) fn written(_: &[String]) -> Ended {
    brigade::init();
    for was_sent in [false, true] {
        let mut whole = Shared::<[u8]>::writable(10_000)?;
        if was_sent {
            whole = process::spawn(fill, whole)?.join()?;
        }
        let (head, tail) = whole.split_at(5_000);
        let recovery = head.recovery()?;
        let Some(pid) = copy() else {
            let ended = (|| {
                match process::spawn(fill, head) {
                    Ok(sent) => match sent.join() {
                        Err(e) if e.to_string().contains("fork") => {}
                        other => return Err(format!("sent: {other:?}").into()),
                    },
                    Err(e) => return Err(e.into()),
                }
                drop(tail);
                match recovery.recover() {
                    Err(brigade::shm::RecoverError::Owned) => Ok(()),
                    other => Err(format!("the original lives: {other:?}").into()),
                }
            })();
            end_copy(ended)
        };
        wait_for_copy(pid)?;
        let filled = process::spawn(fill, head)?.join()?;
        let frozen = Writable::join([tail, filled])?.freeze()?;
        if frozen[0] != 1 || frozen[9_999] != u8::from(was_sent) {
            return Err("the copy has written to it".into());
        }
    }
    Ok(())
}

//! Types of std that have an encoding of their own.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::{Bound, Range, RangeFrom, RangeInclusive, RangeTo};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::family;

/// What is behind a lock.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Locks(Mutex<Vec<u8>>, RwLock<String>);

impl PartialEq for Locks {
    fn eq(&self, other: &Locks) -> bool {
        let all = |it: &Locks| {
            let inner =
                it.0.lock()
                    .map(|it| it.clone())
                    .unwrap_or_else(|e| e.into_inner().clone());
            (inner, it.1.read().map(|it| it.clone()).ok())
        };
        all(self) == all(other)
    }
}

fn locks() -> Locks {
    Locks(Mutex::new(vec![1, 2]), RwLock::new("text".into()))
}

fn poisoned() -> Locks {
    let locks = locks();
    // Without the hook, which would write about it.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = locks.0.lock();
        std::panic::resume_unwind(Box::new(()));
    }));
    locks
}

/// A cell that can be compared while it is borrowed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Guarded(RefCell<u8>);

impl PartialEq for Guarded {
    fn eq(&self, other: &Guarded) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

/// A cell, borrowed for ever.
fn borrowed() -> Guarded {
    let cell = RefCell::new(1);
    let _guard = std::mem::ManuallyDrop::new(cell.borrow_mut());
    Guarded(cell)
}

fn v6(scope: u32, flow: u32) -> SocketAddrV6 {
    SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, flow, scope)
}

family! {
    Duration(Duration) "Duration" [Duration::ZERO, Duration::MAX, Duration::new(1, 999_999_999)] => Equal;
    Time(SystemTime) "SystemTime" [UNIX_EPOCH + Duration::new(1 << 31, 7)] => Equal;
    OldTime(SystemTime) "SystemTime before 1970" [UNIX_EPOCH - Duration::from_secs(1)] => Refused("SystemTime must be later than UNIX_EPOCH");
    Ip((IpAddr, IpAddr)) "IpAddr" [(Ipv4Addr::LOCALHOST.into(), Ipv6Addr::from(u128::MAX).into())] => Equal;
    Socket(SocketAddr) "SocketAddr" [([127, 0, 0, 1], 80).into(), v6(0, 0).into(), v6(7, 0).into()] => Equal;
    Flow(SocketAddrV6) "SocketAddrV6 with flow information" [v6(0, 9)] => Becomes("serde writes none", [v6(0, 0)]);
    Ranges((Range<u8>, RangeInclusive<i64>, RangeFrom<u8>, RangeTo<u8>)) "ranges" [(1..2, -1..=i64::MAX, 1.., ..9)] => Equal;
    Bounds((Bound<u8>, Bound<u8>, Bound<Option<()>>)) "Bound" [(Bound::Unbounded, Bound::Excluded(1), Bound::Included(Some(())))] => Equal;
    Cells((Cell<u8>, RefCell<String>)) "Cell, RefCell" [(Cell::new(1), RefCell::new("text".into()))] => Equal;
    Borrowed(Guarded) "RefCell that is borrowed" [borrowed()] => Refused("already mutably borrowed");
    Locks(Locks) "Mutex, RwLock" [locks()] => Equal;
    Poisoned(Locks) "Mutex that is poisoned" [poisoned()] => Refused("lock poison error while serializing");
    Phantom((PhantomData<String>, Box<()>)) "PhantomData" [(PhantomData, Box::new(()))] => Equal;
}

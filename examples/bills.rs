//! Bills: a price list that every worker has, and orders that wait for room. Then the same list,
//! raised in place by threads that borrow it.
//!
//! `cargo run --example bills -- process`; or `thread`.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::Thread;

use brigade::channel::{self, Receiver};
use brigade::{Kind, Pool, task};

/// The smallest executor there is; yours is tokio's.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let kind: Kind = std::env::args()
        .nth(1)
        .as_deref()
        .unwrap_or("process")
        .parse()?;
    let pool = Pool::new(kind, 2)?;
    let mut prices: Vec<u64> = (0..1000).map(|article| 100 + article % 7).collect();

    // What the task uses beside its input is named; to a process it is carried once.
    let tip = 5;
    let bill = task!(move |orders: Receiver<(usize, u64)>| -> u64
        using (prices: &Vec<u64> = prices.clone(), tip: u64) {
        orders.iter().flatten().map(|(article, count)| prices[article] * count + tip).sum()
    });
    let (kitchen, orders) = channel::shm(4)?;
    let bill = pool.submit_captured(&bill, orders);
    let bill = block_on(async move {
        for article in 0..1000 {
            // Waits while four are on their way, and no thread waits with it.
            kitchen.send_async((article, 2)).await?;
        }
        drop(kitchen); // no more
        Ok::<_, Box<dyn std::error::Error>>(bill.await?)
    })?;
    println!("the bill of a {kind}: {bill}");

    // Threads borrow. A process has nothing that it could borrow: its pool would say so.
    let cooks = Pool::threads(2)?;
    let raise = 10;
    let total = cooks.scope(|scope| {
        let (left, right) = prices.split_at_mut(500);
        let halves = [left, right].map(|half| {
            scope.spawn(move || {
                half.iter_mut().for_each(|price| *price += raise);
                half.iter().sum::<u64>()
            })
        });
        halves
            .into_iter()
            .map(|half| half.join())
            .sum::<Result<u64, _>>()
    })??;
    println!("all articles, once, at the new prices: {total}");
    assert_eq!(total, prices.iter().sum());
    assert_eq!(bill, (total - 1000 * raise) * 2 + 1000 * tip);
    Ok(())
}

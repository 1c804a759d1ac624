//! An account in a process of its own, which is opened again when that dies.
use brigade::{Actor, Kind};
use side_by_side::{AMOUNTS, withdraw};

#[brigade::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let account = Actor::new(Kind::Process, |balance: i64| balance, 100)?;
    for amount in AMOUNTS {
        match account.call(withdraw, amount) {
            Ok(balance) => println!("{balance}"),
            Err(e) if e.is_crash() => println!("lost, and opened again"),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

//! An account in a process of its own, which is opened again when that dies.
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use side_by_side::{AMOUNTS, withdraw};

struct Account {
    child: Child,
    replies: BufReader<ChildStdout>,
}

impl Account {
    fn open(balance: i64) -> io::Result<Account> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", &balance.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let replies = BufReader::new(child.stdout.take().expect("it is piped"));
        Ok(Account { child, replies })
    }

    fn call(&mut self, amount: i64) -> io::Result<Option<i64>> {
        let requests = self.child.stdin.as_mut().expect("it is piped");
        writeln!(requests, "{}", serde_json::to_string(&amount)?)?;
        let mut reply = String::new();
        if self.replies.read_line(&mut reply)? == 0 {
            self.child.wait()?;
            *self = Account::open(100)?;
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&reply)?))
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn serve(mut balance: i64) -> io::Result<()> {
    for request in io::stdin().lines() {
        let amount = serde_json::from_str(&request?)?;
        let reply = withdraw(&mut balance, amount);
        println!("{}", serde_json::to_string(&reply)?);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, balance] = &args[..] {
        assert_eq!(word, "serve");
        return Ok(serve(balance.parse()?)?);
    }
    let mut account = Account::open(100)?;
    for amount in AMOUNTS {
        match account.call(amount)? {
            Some(balance) => println!("{balance}"),
            None => println!("lost, and opened again"),
        }
    }
    Ok(())
}

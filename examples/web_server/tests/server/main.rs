//! The program as its clients meet it: started, asked over loopback, broken, reloaded, stopped.

mod client;
mod contained;
mod limits;
mod reloads;
mod server;
mod serves;

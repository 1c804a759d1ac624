//! Builds the bad C library.

fn main() {
    println!("cargo::rerun-if-changed=c/bad.c");
    cc::Build::new().file("c/bad.c").compile("bad");
}

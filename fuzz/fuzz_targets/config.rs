//! The fuzz target `config`, implemented in the module of that name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evenkeel_fuzz::config::check(data));

//! The target `response_head`: see the module of that name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evenkeel_fuzz::response_head::check(data));

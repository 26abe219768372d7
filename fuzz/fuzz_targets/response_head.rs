//! The fuzz target `response_head`, implemented in the module of that name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evenkeel_fuzz::response_head::check(data));

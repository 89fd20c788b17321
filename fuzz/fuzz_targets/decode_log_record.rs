//! A partition's log.

#![no_main]

use fermata_engine::record::LogRecord;
use fermata_proto::codec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = codec::decode::<LogRecord>(bytes) {
        // Bytes, since a value may hold a number that equals nothing.
        let written = codec::encode(&value);
        let again: LogRecord = codec::decode(&written).expect("what was written is read");
        assert_eq!(codec::encode(&again), written);
    }
});

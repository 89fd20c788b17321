//! Random numbers that are the same in every replay of a run.
//!
//! The generator is written out here because its numbers end up in histories: it never changes. SplitMix64, seeded with
//! FNV-1a of the run id (Steele, Lea, Flood 2014; Fowler, Noll, Vo).

#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub fn seeded_by(run_id: &str) -> Self {
        let hash = run_id
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Self(hash)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn uuid(&mut self) -> uuid::Uuid {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.next().to_be_bytes());
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_run_never_change() {
        let mut random = Random::seeded_by("8b0d1c1e-0000-4000-8000-000000000001");
        let first = random.next();
        assert_eq!(
            first,
            Random::seeded_by("8b0d1c1e-0000-4000-8000-000000000001").next()
        );
        assert_ne!(first, random.next());
        assert_eq!(Random(0).next(), 0xe220_a839_7b1d_cdaf);
    }
}

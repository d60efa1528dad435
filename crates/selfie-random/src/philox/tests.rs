use super::*;

/// `kat_vectors` of Random123, the lines "philox4x32 10".
#[test]
fn block_function_gives_the_published_vectors() {
    let vectors = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    for (counter, key, words) in vectors {
        assert_eq!(philox4x32(counter, key), words);
    }
}

#[test]
fn lanes_equal_the_block_function() {
    let key = [0x1234_5678, 0x9abc_def0];
    let counter = |lane: usize| [lane as u32, 5 * lane as u32, u32::MAX - lane as u32, 77];
    let mut counters: [[u32; N_LANES]; 4] = std::array::from_fn(|word| std::array::from_fn(|lane| counter(lane)[word]));
    philox4x32_lanes(&mut counters, key);
    for lane in 0..N_LANES {
        let words = counters.map(|lanes| lanes[lane]);
        assert_eq!(words, philox4x32(counter(lane), key), "lane {lane}");
    }
}

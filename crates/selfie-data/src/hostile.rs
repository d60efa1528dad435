//! Files that are broken or made to hurt: what each costs, and that none is passed over in silence.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::{ImageFormat, Rgb};

use crate::import::tests::{bomb, png};
use crate::{
    DataError, DataErrorKind, ImportSettings, MaskSampler, PatchAugmentation, PatchGrid, PretrainSettings,
    PretrainSource, SetName, import, open,
};

/// Names the file that a child process reads.
const CHILD: &str = "SELFIE_HOSTILE";
const MAX_TIME: Duration = Duration::from_millis(50);
const MAX_KB: u64 = 64 << 10;
const N_TRIES: usize = 5;

/// Lists in lists, which a reader by recursion dies of.
fn nested_pickle() -> Vec<u8> {
    [b"\x80\x02".as_slice(), &b"]".repeat(7000), &b"a".repeat(6999), b"."].concat()
}

/// Fifty-two bytes that claim to hold bytes of 1.3 GB.
fn claiming_pickle() -> Vec<u8> {
    let mut bytes = [b"\x80\x04\x8e".as_slice(), &1_300_000_000_u64.to_le_bytes()].concat();
    bytes.resize(52, b'x');
    bytes
}

/// An archive of 200 MB of zeroes, as numpy's `savez_compressed` writes it.
fn npz_bomb() -> Vec<u8> {
    const N_ROWS: usize = 65_104;
    let array = |header: &str, bytes: &[u8], n_times: usize| {
        let mut header = header.to_owned();
        while !(10 + header.len() + 1).is_multiple_of(64) {
            header.push(' ');
        }
        header.push('\n');
        let start = [b"\x93NUMPY\x01\x00".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
        let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut crc = flate2::Crc::new();
        let mut write = |bytes: &[u8]| {
            packed.write_all(bytes).unwrap();
            crc.update(bytes);
        };
        write(&start);
        (0..n_times).for_each(|_| write(bytes));
        (packed.finish().unwrap(), crc.sum(), (start.len() + n_times * bytes.len()) as u32)
    };
    let data = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({N_ROWS}, 3072), }}");
    let labels = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({N_ROWS},), }}");
    let entries = [("data.npy", array(&data, &[0; 3072], N_ROWS)), ("labels.npy", array(&labels, &[1], N_ROWS))];
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, (packed, crc, size)) in &entries {
        let numbers = [
            [20, 0, 0, 0, 8, 0, 0, 0, 0, 0].as_slice(),
            &crc.to_le_bytes(),
            &(packed.len() as u32).to_le_bytes(),
            &size.to_le_bytes(),
            &(name.len() as u16).to_le_bytes(),
            &[0, 0],
        ]
        .concat();
        let start = file.len() as u32;
        let place = [[0; 10].as_slice(), &start.to_le_bytes(), name.as_bytes()].concat();
        directory.extend([b"PK\x01\x02\x14\x00".as_slice(), &numbers, &place].concat());
        file.extend([b"PK\x03\x04".as_slice(), &numbers, name.as_bytes(), packed].concat());
    }
    let place = [(directory.len() as u32).to_le_bytes(), (file.len() as u32).to_le_bytes()].concat();
    [file, directory, [b"PK\x05\x06\0\0\0\0\x02\0\x02\0".as_slice(), &place, &[0, 0]].concat()].concat()
}

/// A PNG of one colour, 426 MB when it is unpacked.
fn png_bomb() -> Vec<u8> {
    const SIDE: usize = 11_916;
    let chunk = |kind: &[u8], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        [&(data.len() as u32).to_be_bytes(), kind, data, &crc.sum().to_be_bytes()].concat()
    };
    let side = (SIDE as u32).to_be_bytes();
    let header = [side.as_slice(), &side, &[8, 2, 0, 0, 0]].concat();
    let mut pixels = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let row = vec![0; 1 + 3 * SIDE];
    (0..SIDE).for_each(|_| pixels.write_all(&row).unwrap());
    let start = b"\x89PNG\r\n\x1a\n".as_slice();
    [start, &chunk(b"IHDR", &header), &chunk(b"IDAT", &pixels.finish().unwrap()), &chunk(b"IEND", &[])].concat()
}

/// Reads a file as the set that it is part of.
fn read(path: &Path) -> Result<(), DataError> {
    if path.extension().is_some_and(|extension| extension == "png") {
        return crate::decode::decode(&fs::read(path).unwrap(), path).map(|_| ());
    }
    open(SetName::Imagenet32, path.parent()).map(|_| ())
}

/// `VmHWM` or `VmRSS` of this process, KB.
fn memory_kb(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What the child process does; a test like any other, which passes at once, where there is no file to read.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    // What any reading needs: threads, tables.
    let _ = open(SetName::Imagenet32, Some(Path::new("/nowhere")));
    crate::decode::decode(&png(8, 1), Path::new("x.png")).unwrap();
    let before_kb = memory_kb("VmRSS");
    let start = Instant::now();
    let error = read(Path::new(&path)).unwrap_err();
    let took = start.elapsed();
    assert_eq!(error.kind(), DataErrorKind::BadData, "{error}");
    let more_kb = memory_kb("VmHWM").saturating_sub(before_kb);
    writeln!(std::io::stderr(), "hostile: {} µs {more_kb} KB", took.as_micros()).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn each_of_the_four_hostile_files_is_refused_in_50_ms_and_64_mb() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, n_bytes) in [
        ("nested/train_data_batch_1", nested_pickle(), 10_000..15_000),
        ("claiming/train_data_batch_1", claiming_pickle(), 52..53),
        ("archive/train_data_batch_1.npz", npz_bomb(), 150_000..1_000_000),
        ("bomb.png", png_bomb(), 350_000..500_000),
    ] {
        assert!(n_bytes.contains(&bytes.len()), "{name}: {} bytes", bytes.len());
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        // The best of some: other tests want the processor as well.
        let measured: Vec<(Duration, u64)> = (0..N_TRIES).map(|_| in_a_process(&path)).collect();
        let (took, more_kb) = measured.iter().min().unwrap();
        assert!(*took < MAX_TIME && *more_kb < MAX_KB, "{name}: {measured:?}");
    }
}

/// Time and memory of a process that reads a file.
fn in_a_process(path: &Path) -> (Duration, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", "hostile::child", "--nocapture"]).env(CHILD, path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stdout));
    let line = text.lines().find_map(|line| line.strip_prefix("hostile: ")).unwrap();
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    (Duration::from_micros(numbers[0]), numbers[1])
}

/// Images in a folder, `n` of each kind of mistake among `n_good`; returns the names of those that cannot be used.
#[cfg(unix)]
fn folder_of_mistakes(folder: &Path, n_good: usize, n: usize) -> Vec<String> {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    let mut deep = Cursor::new(Vec::new());
    image::ImageBuffer::from_pixel(9, 9, Rgb([65_535_u16, 0, 0])).write_to(&mut deep, ImageFormat::Png).unwrap();
    let (deep, good, one) = (deep.into_inner(), png(9, 5), png(1, 5));
    let cmyk = include_bytes!("../tests/images/cmyk.jpg");
    let bomb = bomb();
    (0..n_good).for_each(|i| fs::write(folder.join(format!("good-{i:05}.png")), &good).unwrap());
    let mut bad = Vec::new();
    for i in 0..n {
        let mut write = |kind: &str, end: &str, bytes: &[u8]| {
            let name = format!("{kind}-{i:05}.{end}");
            fs::write(folder.join(&name), bytes).unwrap();
            if kind.starts_with("bad") {
                bad.push(name);
            }
        };
        write("bad-empty", "jpg", b"");
        write("bad-truncated", "png", &good[..good.len() / 2]);
        write("bad-text", "jpg", b"<html>");
        write("bad-bomb", "png", &bomb);
        write("odd-extension", "jpg", &good);
        write("odd-cmyk", "jpg", cmyk);
        write("odd-16-bit", "png", &deep);
        write("odd-1-pixel", "png", &one);
        let no_unicode = [b"odd-\xff\xfe-".as_slice(), format!("{i:05}.png").as_bytes()].concat();
        fs::write(folder.join(std::ffi::OsStr::from_bytes(&no_unicode)), &good).unwrap();
        for (name, target) in [(format!("bad-gone-{i:05}.png"), "nowhere"), (format!("bad-loop-{i:05}.png"), "")] {
            let target = if target.is_empty() { name.clone() } else { target.to_owned() };
            symlink(target, folder.join(&name)).unwrap();
            bad.push(name);
        }
        symlink(".", folder.join(format!("circle-{i:05}"))).unwrap();
    }
    bad.sort();
    bad
}

#[cfg(unix)]
#[test]
fn of_every_share_of_broken_files_each_is_listed_once_capped_and_replaced_the_same() {
    for n in [1, 10, 100] {
        let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // Of a thousand files, 0.1, 1 or 10 % of each kind; of the eleven kinds six cannot be used.
        let bad = folder_of_mistakes(source.path(), 1000_usize.saturating_sub(11 * n), n);
        let data = open(SetName::Imagenet32, Some(source.path())).unwrap();
        let n_images = 1000_usize.saturating_sub(11 * n) + 11 * n;
        assert_eq!(data.train.len(), n_images);
        let found: Vec<String> =
            data.train.bad_samples("train").iter().map(|bad| bad.path.rsplit('/').next().unwrap().to_owned()).collect();
        assert_eq!(found, bad);

        let settings = |max_bad_share| ImportSettings {
            set: SetName::Imagenet32,
            source: source.path().to_owned(),
            out: out.path().join(format!("{max_bad_share}")),
            side: 32,
            max_bad_share,
        };
        let strict = import(&settings(0.01), |_| ());
        match n {
            1 => assert_eq!(strict.unwrap().bad.len(), 6),
            _ => assert_eq!(strict.unwrap_err().kind(), DataErrorKind::BadData),
        }
        assert_eq!(import(&settings(0.99), |_| ()).unwrap().n_train, n_images - bad.len());

        let settings = PretrainSettings {
            grid: PatchGrid::new(32, 8).unwrap(),
            masks: MaskSampler::new(16, 4).unwrap(),
            augmentation: None,
            patches: PatchAugmentation::default(),
            seed: 1,
            batch: 50,
        };
        let source = Arc::new(PretrainSource::new(data.train.clone(), None, settings).unwrap());
        let [first, again] = [(); 2].map(|()| (0..20).map(|step| source.batch(step).unwrap()).collect::<Vec<_>>());
        assert!(first == again, "what stands in for a broken file is a function of the step");
        let is_bad = |example: &u32| data.train.image(*example as usize).is_err();
        assert!(first.iter().all(|batch| !batch.examples.iter().any(is_bad)));
        let mut listed: Vec<u32> = first.iter().flat_map(|batch| batch.bad.iter().map(|bad| bad.example)).collect();
        listed.sort_unstable();
        listed.dedup();
        assert!(n_images > 1000 || listed.len() == bad.len(), "an epoch meets every one: {}", listed.len());
    }
}

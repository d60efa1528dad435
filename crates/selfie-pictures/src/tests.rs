use super::*;

const STYLE: Style = Style { size: 16.0, bold: false, colour: Colour::INK };

#[test]
fn both_fonts_draw_text_inside_of_its_width() {
    for bold in [false, true] {
        let style = Style { bold, ..STYLE };
        let width = text_width("right 98 % ✓ → u0", style);
        assert!(width > 80, "{width}");
        let mut canvas = Canvas::new(width + 10, 30, Colour::PAPER);
        canvas.text(0, 0, "right 98 % ✓ → u0", style);
        let inked = |x: i32| (0..30).any(|y| canvas.colour_at(x, y) != Some(Colour::PAPER));
        assert!((0..width / 2).any(inked) && (width / 2..width).any(inked));
        assert!(!(width + 1..width + 10).any(inked));
    }
}

#[test]
fn long_text_is_cut_to_its_width() {
    let text = "a name that is much too long for a tile";
    let cut = fitted(text, 100, STYLE);
    assert!(cut.ends_with('…') && text_width(&cut, STYLE) <= 100, "{cut}");
    assert_eq!(fitted("short", 100, STYLE), "short");
    assert_eq!(fitted(text, 2, STYLE), "");
}

#[test]
fn what_lies_beyond_the_edges_is_left_out() {
    let mut canvas = Canvas::new(4, 4, Colour::PAPER);
    canvas.fill(Area { x: -2, y: -2, width: 3, height: 3 }, Colour::INK);
    canvas.disc((100.0, -5.0), 3.0, Colour::INK);
    canvas.image(Area::square(3, 3, 2), 1, &[9, 8, 7]);
    assert_eq!(canvas.colour_at(0, 0), Some(Colour::INK));
    assert_eq!(canvas.colour_at(1, 1), Some(Colour::PAPER));
    assert_eq!(canvas.colour_at(3, 3), Some(Colour([9, 8, 7])));
    assert_eq!(canvas.colour_at(4, 0), None);
}

#[test]
fn an_image_is_enlarged_by_whole_pixels() {
    let mut canvas = Canvas::new(6, 6, Colour::PAPER);
    canvas.image(Area::square(0, 0, 6), 2, &[1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
    let row = |y: i32| (0..6).map(|x| canvas.colour_at(x, y).unwrap().0[0]).collect::<Vec<u8>>();
    assert_eq!(row(2), [1, 1, 1, 2, 2, 2]);
    assert_eq!(row(3), [3, 3, 3, 4, 4, 4]);
}

#[test]
fn a_sheet_has_each_query_before_its_neighbours_and_is_written_as_png() {
    let tile = |grey: u8| Tile { side: 1, pixels: vec![grey; 3], caption: "0.93".into(), frame: None };
    let rows =
        [1, 2].map(|query| NeighbourRow { query: tile(query), neighbours: vec![tile(query + 10), tile(query + 20)] });
    let sheet = neighbour_sheet(&Heading::new("title", "text"), &rows, 40);
    let greys = |y: i32| {
        let line = (0..sheet.width()).filter_map(|x| sheet.colour_at(x, y)).map(|colour| colour.0[0]);
        let mut greys: Vec<u8> = line.filter(|&grey| grey < 30).collect();
        greys.dedup();
        greys
    };
    assert_eq!(greys(120), [1, 11, 21]);
    assert_eq!(greys(190), [2, 12, 22]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sheet.png");
    sheet.save(&path).unwrap();
    let read = image::open(&path).unwrap().into_rgb8();
    assert_eq!((read.width() as i32, read.height() as i32), (sheet.width(), sheet.height()));
    assert!(matches!(sheet.save(&folder.path().join("no/sheet.png")), Err(PictureError::Write { .. })));
}

#[test]
fn an_explanation_is_broken_between_words_into_lines_that_fit() {
    let text = "one two three four five six seven eight nine ten";
    let lines = page::wrapped(text, 120, STYLE);
    assert!(lines.len() > 2 && lines.iter().all(|line| text_width(line, STYLE) <= 120), "{lines:?}");
    assert_eq!(lines.join(" "), text);
    assert!(page::wrapped("", 120, STYLE).is_empty());
}

/// Places whose colour is one of `colours`.
fn count(canvas: &Canvas, colours: &[Colour]) -> usize {
    let all = (0..canvas.height()).flat_map(|y| (0..canvas.width()).map(move |x| (x, y)));
    all.filter(|&(x, y)| canvas.colour_at(x, y).is_some_and(|colour| colours.contains(&colour))).count()
}

fn masked(probs: [f32; 4]) -> MaskedImage {
    // Four patches of one pixel, of which the first and the last are hidden.
    let pixels = [[10, 0, 0], [0, 20, 0], [0, 0, 30], [40, 0, 40]].concat();
    MaskedImage { side: 2, pixels, grid: 2, places: vec![0, 3], probs: probs.to_vec(), caption: "x".into() }
}

#[test]
fn right_choices_are_green_and_wrong_ones_red() {
    let heading = Heading::new("title", "text");
    let [right, wrong] =
        [[0.9, 0.1, 0.2, 0.8], [0.1, 0.9, 0.8, 0.2]].map(|probs| masked_sheet(&heading, &[masked(probs)]));
    assert!(count(&right, &[Colour::RIGHT]) > 0 && count(&right, &[Colour::WRONG]) == 0);
    assert!(count(&wrong, &[Colour::WRONG]) > 0 && count(&wrong, &[Colour::RIGHT]) == 0);
}

#[test]
fn many_places_make_no_page_that_is_wider_than_a_screen() {
    let n_places = 12;
    let image = MaskedImage {
        side: 7,
        pixels: vec![100; 7 * 7 * 3],
        grid: 7,
        places: (0..n_places).collect(),
        probs: vec![1.0 / n_places as f32; n_places * n_places],
        caption: "x".into(),
    };
    let sheet = masked_sheet(&Heading::new("title", "text"), &vec![image; 8]);
    assert!(sheet.width() < 1440 && sheet.height() < 2100, "{} × {}", sheet.width(), sheet.height());
}

#[test]
fn a_mistake_shows_the_right_patch_and_the_chosen_one() {
    let mistake = Mistake { image: masked([0.1, 0.9, 0.5, 0.5]), place: 0 };
    let sheet = mistakes_sheet(&Heading::new("title", "text"), &[mistake]);
    // The hidden patches' colours appear beside the image alone.
    assert!(count(&sheet, &[Colour([10, 0, 0])]) > 1000);
    assert!(count(&sheet, &[Colour([40, 0, 40])]) > 1000);
    assert!(count(&sheet, &[Colour::RIGHT]) > 0 && count(&sheet, &[Colour::WRONG]) > 0);
}

#[test]
fn maps_draw_what_they_are_given_and_empty_ones_do_not_fail() {
    let heading = Heading::new("title", "text");
    let filters = Filters { kernel: 1, weights: vec![1.0, -1.0, 0.0, 0.0, 0.0, 0.0] };
    let sheet = filters_sheet(&heading, &filters);
    assert!(count(&sheet, &[Colour([255, 0, 128])]) > 1000, "the largest weight is brightest");
    assert!(count(&sheet, &[Colour([128, 128, 128])]) > 1000, "no weight is grey");

    let similarities = [1.0, -0.5, 0.0, 0.0, -0.5, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
    let sheet = positions_sheet(&heading, 2, &similarities);
    assert!(count(&sheet, &[Colour::of_signed(-1.0)]) > 0 && count(&sheet, &[Colour::INK]) > 0);

    let image = AttendedImage {
        side: 2,
        pixels: vec![0; 12],
        grid: 2,
        layers: vec![vec![Some(0.1), None, Some(0.6), Some(0.2)]],
        itself: vec![0.1],
        caption: "x".into(),
    };
    let sheet = attention_sheet(&heading, &[image]);
    assert!(count(&sheet, &[Colour::of_share(1.0)]) > 1000 && count(&sheet, &[Colour::HIDDEN]) > 1000);

    let empty = Scatter { points: Vec::new(), classes: Vec::new(), class_names: Vec::new() };
    let sheets = [
        scatter(&heading, &empty),
        masked_sheet(&heading, &[]),
        mistakes_sheet(&heading, &[]),
        attention_sheet(&heading, &[]),
        neighbour_sheet(&heading, &[], 40),
    ];
    assert!(sheets.iter().all(|sheet| count(sheet, &[Colour::PAPER]) > 0));
}

#[test]
fn a_map_has_its_points_in_their_classes_colours_and_the_classes_names() {
    let points = vec![[0.0, 0.0], [4.0, 1.0], [8.0, 0.0]];
    let plain = Scatter { points, classes: vec![0, 1, 1], class_names: vec!["cat".into(), "dog".into()] };
    let map = scatter(&Heading::new("title", "text"), &plain);
    let (cats, dogs) = (count(&map, &[Colour::of_class(0)]), count(&map, &[Colour::of_class(1)]));
    assert!(cats > 50 && dogs > cats, "{cats} {dogs}");
    assert!(map.height() < map.width() / 2, "a flat cloud has a flat frame");
}

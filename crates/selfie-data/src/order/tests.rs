use super::*;

fn positions(order: &ExampleOrder, batch: usize, steps: u64) -> Vec<(u32, u32)> {
    (0..steps).flat_map(|step| order.batch(step, batch).collect::<Vec<_>>()).collect()
}

#[test]
fn every_epoch_holds_every_example_once_in_another_order() {
    let order = ExampleOrder::new(5, 100).unwrap();
    let run = positions(&order, 7, 43);
    for epoch in 0..3 {
        let mut examples: Vec<u32> = run.iter().filter(|(of, _)| *of == epoch).map(|(_, example)| *example).collect();
        assert_ne!(examples, run[..100].iter().map(|(_, e)| e + u32::from(epoch == 0)).collect::<Vec<_>>());
        examples.sort_unstable();
        assert!(examples.into_iter().eq(0..100), "epoch {epoch}");
    }
}

#[test]
fn the_sequence_does_not_depend_on_the_batch() {
    let order = ExampleOrder::new(5, 10).unwrap();
    assert_eq!(positions(&order, 3, 20), positions(&order, 60, 1));
}

#[test]
fn a_batch_larger_than_the_data_is_full() {
    let order = ExampleOrder::new(0, 3).unwrap();
    let batch: Vec<_> = order.batch(1, 8).collect();
    assert_eq!(batch.iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), [2, 3, 3, 3, 4, 4, 4, 5]);
}

#[test]
fn no_examples_are_refused() {
    assert!(ExampleOrder::new(0, 0).is_err());
}

#[test]
fn the_parts_of_several_processes_are_disjoint_and_together_the_order_of_one() {
    let order = ExampleOrder::new(7, 53).unwrap();
    for world_size in 1..=4 {
        let shards: Vec<ExampleOrder> =
            (0..world_size).map(|rank| order.sharded(Shard::new(rank, world_size).unwrap())).collect();
        for step in [0, 1, 12, 1 << 40] {
            let together: Vec<(u32, u32)> = shards.iter().flat_map(|shard| shard.batch(step, 5)).collect();
            let alone: Vec<(u32, u32)> = order.batch(step, 5 * world_size as usize).collect();
            assert_eq!(together, alone, "{world_size} processes, step {step}");
        }
        // Over a whole epoch no two processes see the same example.
        let n_steps = 53 / (5 * u64::from(world_size));
        let mut seen: Vec<(u32, u32)> =
            (0..n_steps).flat_map(|step| shards.iter().flat_map(move |shard| shard.batch(step, 5))).collect();
        let n = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), n);
    }
    assert!(Shard::new(1, 1).is_err() && Shard::new(0, 0).is_err() && Shard::new(4, 4).is_err());
}

use super::*;
use selfie_model::ClassifierConfig;
use std::collections::BTreeMap;

/// A network of the size that timm and torchvision have.
fn network(architecture: Architecture) -> SelfieConfig {
    let (stem, image_size, patch_size) = (Stem::SevenBySeven, 224, 32);
    SelfieConfig { architecture, stem, image_size, patch_size, ..SelfieConfig::default() }
}

fn classifier(network: SelfieConfig, kind: ClassifierKind) -> Metadata {
    Metadata::Classifier(ClassifierConfig { network, kind, classes: vec!["cat".to_owned(), "dog".to_owned()] })
}

/// What `config.json` tells timm's loader to make.
fn architecture(metadata: Metadata) -> Option<Value> {
    config(&WeightsFile { metadata, tensors: BTreeMap::new() }, "card").get("architecture").cloned()
}

const BOTH: [(Architecture, &str, &str); 2] = [
    (Architecture::Resnet50V2, "resnetv2_50", "timm's `resnetv2_50`"),
    (Architecture::Resnet50V15, "resnet50", "torchvision's `resnet50`"),
];

#[test]
fn timms_loader_is_given_whole_networks_of_timms_shapes_alone() {
    for (version, name, _) in BOTH {
        let network = network(version);
        assert_eq!(architecture(classifier(network.clone(), ClassifierKind::Stage4)), Some(name.into()));
        assert_eq!(architecture(Metadata::Pretraining(network.clone())), None);
        for kind in [ClassifierKind::AttentionPooling, ClassifierKind::PatchNetwork] {
            assert_eq!(architecture(classifier(network.clone(), kind)), None, "{kind:?}");
        }
        for other in [
            SelfieConfig { width: 32, ..network.clone() },
            SelfieConfig { depths: [2, 2, 2, 2], ..network.clone() },
            SelfieConfig { stem: Stem::ThreeByThree, ..network.clone() },
        ] {
            assert_eq!(architecture(classifier(other.clone(), ClassifierKind::Stage4)), None, "{other:?}");
        }
    }
}

#[test]
fn the_card_says_whose_names_the_weights_have() {
    for (version, _, theirs) in BOTH {
        let network = network(version);
        let whole = about_weights(&classifier(network.clone(), ClassifierKind::Stage4));
        assert_eq!(whole, format!("the weights, under the names of {theirs}, which loads them"));
        let narrow = SelfieConfig { width: 16, ..network.clone() };
        let narrow_whole = about_weights(&classifier(narrow.clone(), ClassifierKind::Stage4));
        assert!(narrow_whole.ends_with("in other shapes than its own"), "{narrow_whole}");

        let pretraining = about_weights(&Metadata::Pretraining(network.clone()));
        assert!(pretraining.contains("Selfie's own names") && pretraining.contains("finetune --from"), "{pretraining}");
        for kind in [ClassifierKind::AttentionPooling, ClassifierKind::PatchNetwork] {
            let ours = about_weights(&classifier(network.clone(), kind));
            assert!(ours.contains("Selfie's own names") && !ours.contains("finetune"), "{ours}");
        }

        let stages = about_stages(&network);
        assert!(stages.contains(theirs) && stages.ends_with("strict=False)`"), "{stages}");
        assert!(about_stages(&narrow).ends_with("of a network with this width, these depths and this stem"));
    }
}

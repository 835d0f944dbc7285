"""The files that steps hand to each other: what is in each, for all who write or read them."""

from __future__ import annotations

from ssfr.components.identity.maps import ATTRIBUTE as MAPS_IDENTITY
from ssfr.components.steps.connections import Entry, File

PHYSICAL = "physical"
_LABEL = "in the label's aperture, with h as catalog.little_h says"
_GALAXY = (
    Entry("snapshot", "int32", "number of the snapshot; 0 of pictures without one"),
    Entry("subhalo_id", "int64", "number of the subhalo in its snapshot, or of the picture in its table"),
)
_VIEW = Entry("view", "int64", "number of the random direction it is seen from (projection.views), from 0")
SAMPLE = File(
    "sample.parquet",
    "parquet",
    "the galaxies of the sample, a row a galaxy",
    (
        *_GALAXY,
        Entry("halo_id", "int64", "number of the friends-of-friends halo"),
        Entry("tree_id", "int64", "merger tree; negative: in none"),
        Entry("in_tree", "bool", "whether tree_id is a merger tree, or a group of pictures"),
        Entry("redshift", "float64", "of the snapshot", optional=True),
        Entry("stellar_mass_msun", "float64", "of all stars of the subhalo", "Msun", PHYSICAL),
        Entry("total_mass_msun", "float64", "of all matter of the subhalo", "Msun", PHYSICAL, optional=True),
        Entry("halo_mass_msun", "float64", "of the halo, M_200c", "Msun", PHYSICAL, optional=True),
        Entry(
            "sfr_msun_per_yr",
            "float64",
            "star formation rate, in the label's aperture",
            "Msun / yr",
            PHYSICAL,
        ),
        Entry("ssfr_stellar_per_yr", "float64", f"SFR / M*, {_LABEL}", "1 / yr", PHYSICAL),
        Entry("ssfr_total_per_yr", "float64", f"SFR / total mass, {_LABEL}", "1 / yr", PHYSICAL),
        Entry("label_stellar_mass_msun", "float64", f"M*, {_LABEL}", "Msun", PHYSICAL),
        Entry("gas_fraction", "float64", f"gas / (gas + M*), {_LABEL}"),
        Entry("gas_cells", "int64", "gas cells of the subhalo", optional=True),
        Entry("halo_gas_cells", "int64", "gas cells of the halo", optional=True),
        Entry("star_particles", "int64", "star particles of the subhalo", optional=True),
        Entry("file", "text", "name of the picture", optional=True),
        Entry("table_*", "text", "column of the label table that the split uses", optional=True),
    ),
)
MAPS = File(
    "maps-*.h5",
    "hdf5",
    "maps of at most 256 galaxies of one snapshot, or pictures",
    (
        Entry(
            "maps",
            "float32|uint8",
            "a map of each field, NaN where there is no gas; uint8: pictures",
            shape="(galaxy, field, y, x)",
        ),
        Entry("snapshot", "int64", "of each galaxy", shape="(galaxy,)"),
        Entry("subhalo_id", "int64", "of each galaxy", shape="(galaxy,)"),
        Entry("view", "int64", "of each galaxy: which of projection.views", shape="(galaxy,)"),
        Entry("records", "text", "JSON: what became of every galaxy, the rejected ones too", optional=True),
        Entry(
            "candidate", "int64", "row of each picture among the candidates", shape="(galaxy,)", optional=True
        ),
        Entry("rejected", "text", "JSON: why the other candidates are no pictures", optional=True),
        Entry(f"@{MAPS_IDENTITY}", "text", "JSON: fields with units, geometry, gas, weighting, h"),
        Entry("@h", "float64", "the Hubble constant / (100 km/s/Mpc)", optional=True),
        Entry("@redshift", "float64", "of the snapshot", optional=True),
        Entry("@version", "text", "of ssfr, which drew them", optional=True),
    ),
)
PIXELS = MAPS.with_only("maps", f"@{MAPS_IDENTITY}")
"""What those who make images of the maps read of them."""
PROJECTION = File(
    "projection.csv",
    "csv",
    "where each galaxy's maps are, and how they were drawn",
    (
        *_GALAXY,
        _VIEW,
        Entry("file", "text", "file of maps"),
        Entry("row", "int64", "row in it"),
        Entry("axis", "text", "what the line of sight is from: young_stars, gas, none, random or matrix"),
        Entry("gas_cells", "int64", "cells read"),
        Entry("used_cells", "int64", "cells in the field of view"),
        Entry("outside_cells", "int64", "cells outside it"),
        Entry("bad_cells", "int64", "cells with impossible values"),
        Entry("edge_cells", "int64", "cells whose kernel passes the edge of the map"),
        Entry("lost_mass", "float64", "share of the mass of used cells that is outside", optional=True),
    ),
)
REJECTED = File(
    "rejected.csv",
    "csv",
    "galaxies or pictures that can't be used",
    (
        *_GALAXY,
        _VIEW,
        Entry("reason", "text", "why"),
        Entry("file", "text", "name of the picture", optional=True),
    ),
)
GALAXIES = File(
    "galaxies.parquet",
    "parquet",
    "the galaxies of the study: those of the sample with a map and a label; a row a view",
    (
        *SAMPLE.entries,
        _VIEW,
        Entry("map_file", "text", "file of maps"),
        Entry("map_row", "int64", "row in it"),
        Entry("gas_cells_used", "int64", "cells in the field of view"),
        Entry("galaxy", "text", "name, as Snap99ID29; of its further views Snap99ID29V1, ..."),
        Entry(
            "label",
            "float64",
            "what is predicted, as preprocessing.label says: by default log10(sSFR / yr^-1)",
        ),
        Entry("zero_sfr", "bool", "whether SFR = 0"),
        Entry("censored", "bool", "whether the label was raised to the floor"),
        Entry("split", "text", "train, validation, test or promotion"),
        Entry("group", "int64", "galaxies of one group are in one set"),
    ),
)
AUDIT_SPLITS = File(
    "audit_splits.parquet",
    "parquet",
    "splits of the leakage audit, where evaluation.audit_case is set",
    (
        Entry("galaxy", "text", "as in galaxies.parquet"),
        Entry("audit_random", "text", "train, validation or test: galaxies by chance"),
        Entry("audit_halo", "text", "the same: halos stay together"),
        Entry("audit_tree", "text", "the same: merger trees stay together"),
    ),
    optional=True,
)
SCALING = File(
    "scaling.json",
    "json",
    "scales of the channels",
    (
        Entry("maps", "object", "identity of the maps"),
        Entry("cases", "object", "case -> field -> mean, std and softening of the stretched map"),
        Entry(
            "maxima",
            "object",
            "field -> what a channel of the 8-bit picture is divided by, in the map's unit",
        ),
    ),
)
PREPARATION = File(
    "preparation.json",
    "json",
    "counts of galaxies, of SFR = 0 and of censored labels, and the sizes of the sets",
    (
        Entry("galaxies", "number", "in the study"),
        Entry("groups", "number", "of galaxies that stay together"),
        Entry("split", "object", "galaxies of each set"),
        Entry("split_zero_sfr", "object", "galaxies of each set with SFR = 0"),
        Entry("zero_sfr", "number", "galaxies with SFR = 0"),
        Entry("dropped_zero_sfr", "number", "galaxies left out since SFR = 0"),
        Entry("censored", "number", "galaxies whose label was raised to the floor"),
        Entry("without_map", "number", "galaxies of the sample without a map"),
    ),
)
MODEL = (
    File(
        "model.json",
        "json",
        "a network in words: case, images, label, interval, seed, versions",
        optional=True,
    ),
    File("weights.npz", "npz", "its weights, float32, in the order of the layers", optional=True),
    File("history.csv", "csv", "its loss, epoch by epoch", optional=True),
    File("failed.json", "json", "why the case has no network", optional=True),
    File("seeds/*/*", "binary", "the same of the other seeds", optional=True),
    File("milestones/*/*", "binary", "the same after fewer epochs", optional=True),
    File("audit/*/*", "binary", "the same of the audit's splits", optional=True),
)
_PREDICTION = (
    Entry("case", "text", "of the model, or baseline_NAME"),
    Entry("seed", "int64", "of the network"),
    Entry("galaxy", "text", "as in galaxies.parquet"),
    *_GALAXY,
    _VIEW,
    Entry("group", "int64", "as in galaxies.parquet"),
    Entry("split", "text", "validation, test or promotion"),
    Entry("label", "float64", "true label"),
    Entry("censored", "bool", "whether it was raised to the floor"),
    Entry("predicted", "float64", "label as predicted"),
    Entry("lower", "float64", "lower end of the predicted interval"),
    Entry("upper", "float64", "its upper end"),
)
PREDICTIONS = File(
    "predictions.parquet",
    "parquet",
    "held-out galaxies by the first network of each case, and by baselines",
    _PREDICTION,
)
EXTRA_PREDICTIONS = File(
    "extra_predictions.parquet",
    "parquet",
    "the same by other seeds, after fewer epochs, and by the audit's networks",
    (*_PREDICTION, Entry("kind", "text", "seed, milestone or audit"), Entry("key", "text", "which of them")),
)
METRICS = File(
    "metrics.json",
    "json",
    "scores with intervals, gains over baselines, differences between cases",
    (
        Entry("format", "number", "of this file"),
        Entry("seed", "number", "of the resamples"),
        Entry("resamples", "number", "from which the intervals of the scores are"),
        Entry("resampled", "text", "what is drawn again: groups"),
        Entry("groups", "text", "what a group is, as merger trees"),
        Entry("sets", "object", "set -> galaxies, groups, galaxies with SFR = 0, and censored ones"),
        Entry("confidence", "number", "of the intervals of the scores"),
        Entry("interval", "number", "share of galaxies that a predicted interval should hold"),
        Entry("populations", "object", "population -> which galaxies it has"),
        Entry("best_case", "text", "the case with the lowest RMSE on the validation set"),
        Entry("best_case_rule", "text", "how it was chosen"),
        Entry("beats_baselines_rule", "text", "when a model beats the baselines"),
        Entry("differences_rule", "text", "what a difference is"),
        Entry("differences", "object", "set -> differences between cases, of all galaxies"),
        Entry("differences_uncensored", "object", "the same without censored galaxies"),
        Entry("cases", "object", "case -> kind, scores, gains"),
        Entry("audit", "object", "split of the leakage audit -> scores", optional=True),
    ),
)
DEPLOYMENT = File(
    "deployment.json",
    "json",
    "which version was deployed, and why",
    (
        Entry("model", "text", "name on the server"),
        Entry("model_digest", "text", "SHA-256 of what the network is"),
        Entry("case", "text", "whose network it is"),
        Entry("version", "number", "in the repository"),
        Entry("label", "text", "under which it is served: stable or canary"),
        Entry("promoted", "bool", "whether it became the champion"),
        Entry("champion", "number", "version of the champion"),
        Entry("labels_before", "object", "label -> version, before it was deployed"),
        Entry("reason", "text", "why it was promoted or not"),
        Entry("decision", "object", "RMSE of challenger and champion, and on how many galaxies", "dex"),
        Entry("served_galaxies", "number", "that were compared"),
        Entry("max_difference_dex", "number", "served against offline predictions", "dex"),
        Entry("tolerance_dex", "number", "largest difference that was allowed", "dex"),
        Entry("example", "object", "a galaxy of the test set: label, served and offline prediction"),
        Entry("removed_versions", "array", "versions that were removed from the repository"),
    ),
)

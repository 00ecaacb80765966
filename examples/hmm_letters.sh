#!/bin/sh
# Installs what Tally needs, builds it into build/ and lets hidden Markov models find the vowels: the letters of the 12544
# distinct words of the King James Bible, each word a sequence, under 2, 3 and 6 states; then the eruptions of Old Faithful
# under 2. All on two ranks. Shows the letters that each state claims. Arguments go to CMake.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${TALLY_BUILD_DIR:-$root/build}
words=$root/examples/data/kjv_words.h5
geyser=$root/tests/data/cases/hmm_gauss_multivariate_geyser/data.h5
results=$build/hmm_letters

"$root/cmake/build.sh" "$build" tally "$@"
tally=$build/launch/tally
mpirun="$root/tests/mpirun.sh -n 2"
mkdir -p "$results"

# The letters of each state: those that it emits more often than any other state does.
letters_of() {
  h5dump -y -w 1 -d /parameters/probabilities "$1" | awk -v states="$2" '
    /DATA/ { reading = 1; next }
    reading && /}/ { reading = 0 }
    reading && /[0-9]/ { gsub(/[ ,]/, ""); p[n++] = $0 + 0 }
    END {
      for (letter = 0; letter < n / states; ++letter) {
        best = 0
        for (k = 1; k < states; ++k) if (p[k * n / states + letter] > p[best * n / states + letter]) best = k
        letters[best] = letters[best] sprintf("%c", 97 + letter)
      }
      for (k = 0; k < states; ++k) print "  state " k ": " letters[k]
    }'
}

for states in 2 3 6; do
  $mpirun "$tally" fit hmm "$words:/letters" --lengths "$words:/lengths" --states $states --emission categorical \
    --init random-from-data --n-init 4 --tol 1e-6 --max-iter 500 --seed 1 --quiet --out "$results/letters_$states.h5"
  letters_of "$results/letters_$states.h5" $states
done

$mpirun "$tally" fit hmm "$geyser:/X" --states 2 --emission gaussian --covariance full --seed 1 --quiet \
  --out "$results/geyser.h5"
"$tally" info "$results/geyser.h5"

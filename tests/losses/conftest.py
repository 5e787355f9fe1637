import sys
from pathlib import Path

# The tests of the losses share an oracle that lies beside them
sys.path.insert(0, str(Path(__file__).parent))

"""Names that RecBole 1.2.1 uses and that NumPy 2 has dropped. Import it before recbole, whose package is left as it is.

    pip install --no-deps recbole==1.2.1
    pip install torch numpy scipy "pandas<3" scikit-learn colorlog colorama texttable tensorboard psutil pyyaml tqdm

Ray and the others that RecBole asks for are only needed by its quick start and its search for hyperparameters.
"""

import numpy as np

# RecBole reads all of them whenever it reads settings.
for name, now in {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}.items():
    if not hasattr(np, name):
        setattr(np, name, now)

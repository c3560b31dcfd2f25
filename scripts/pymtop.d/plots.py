KINDS={"map":None,"classes":None,"ledger":None,"timeline":None}
